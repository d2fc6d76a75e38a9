"""Features in, slates out: retrieval, ranking, learning and the registry of versions."""
