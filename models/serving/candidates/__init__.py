"""Which items may stand in a slate, out of millions: the shelf, its index, its words, what is filtered."""
