"""Where requests come in and replies go out: the desk, envelopes, repeats, slates made before."""
