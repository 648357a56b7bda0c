"""Kafka: the broker's command line and settings, its admin protocol, topics, records, and what its errors mean."""
