"""What the two towers read of items and histories: the same for training, the embedder and the scorer."""
