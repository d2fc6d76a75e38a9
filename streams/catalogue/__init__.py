"""The items as of now, folded from topic `items`."""
