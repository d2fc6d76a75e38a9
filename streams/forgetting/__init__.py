"""Who asked to be forgotten, and since when."""
