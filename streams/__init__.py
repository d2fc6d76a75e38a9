"""Facts in, features out: the wire contract, Kafka, Redis, labels and the archive."""
