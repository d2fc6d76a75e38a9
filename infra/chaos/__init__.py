"""Kills and faults under load, and the proof that they changed nothing.

`plan` draws the faults from a seed, `load` the messages; `crew`, `servers` and `hands` do them to real
processes; `verdict` compares what is then in Redis with `oracle`, an independent recomputation.
"""
