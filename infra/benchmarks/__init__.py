"""What the parts cost, measured alone."""
