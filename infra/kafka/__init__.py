"""Two brokers to run beside us: Apache Kafka without a container, and the client library's own."""
