"""Alerts that arrive: the topic `alerts` in, signed and guarded HTTP messages to receivers out."""
