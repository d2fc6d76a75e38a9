"""The online model and the role that trains it on every example."""
