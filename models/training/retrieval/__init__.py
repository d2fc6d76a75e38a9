"""The two towers of retrieval: trained by JAX, exported to ONNX, judged by recall.

`make` imports JAX only where there is something to train.
"""
