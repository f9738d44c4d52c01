"""Which partition a key's records are in: the same rule for every client of an installation."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """As Kafka's own clients do it: murmur2 of the key's bytes."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
