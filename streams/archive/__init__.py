"""Records as hourly Parquet, read back in order: rebuilds, and values as of any moment."""
