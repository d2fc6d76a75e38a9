"""The two towers of retrieval: trained by JAX, exported to ONNX, judged by recall.

Importing this package imports JAX (about half a second); a trainer does so when it trains.
"""
