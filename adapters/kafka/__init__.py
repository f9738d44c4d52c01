"""Kafka, through aiokafka, which is imported nowhere else.

Beside the roles of a cluster (`streams.cluster`), which say what is written and read; here is how.
It knows topics by their names and records as bytes: no flow, no hop, no event.
"""
