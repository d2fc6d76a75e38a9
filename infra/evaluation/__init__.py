"""What models are worth on a log: by one timeline, each label believed only once it was known."""
