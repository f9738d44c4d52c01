"""Tests on a real Kafka: brokers of this machine, started by deploy/kafka on free ports."""
