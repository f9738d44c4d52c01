"""Kafka, by way of aiokafka: the only package that knows either. Bytes in, bytes out."""
