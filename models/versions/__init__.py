"""What a version is on disk and on topic `models`, checked before it is used."""
