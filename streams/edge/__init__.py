"""What stands between Kafka and a handler: order, offsets, patience, watchdog, health. Home of Faust."""
