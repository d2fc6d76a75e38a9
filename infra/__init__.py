"""How it runs: the command line, the local stack, simulated viewers and deployments."""
