"""A log that was cut, or made anew under its name, under a reader who knows how far it had come.

A single broker that lost its power, an election of a copy that was behind, a topic that was
deleted, topics restored from different points: new records come to stand at offsets that count as
applied, and would be passed over in silence.
"""

from engine.errors import Refused

WAY_OUT = (
    "Restore all topics from the same point, or put conversation.events back into new topics "
    "(docs/operations.md, Back-up and restore)"
)


def require_whole(topic: str, partition: int, *, applied: int, begin: int, end: int) -> None:
    """Raises Refused where the partition does not go on after offset `applied`, the last one."""
    at = f"{topic}:{partition}"
    if end <= applied:
        raise Refused(
            f"{at} ends at offset {end}, and all up to offset {applied} was applied: its end was "
            f"lost, or the topic was made anew. What is written there now would be taken for "
            f"applied. {WAY_OUT}"
        )
    if begin > applied + 1:
        raise Refused(
            f"{at} begins at offset {begin}, and what stood from offset {applied + 1} on was never "
            f"applied: it was deleted. {WAY_OUT}"
        )
