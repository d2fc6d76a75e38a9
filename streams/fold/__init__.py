"""Events into online features, each exactly once, and the role that does it."""
