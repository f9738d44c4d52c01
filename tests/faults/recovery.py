"""How long it took after each blow until those it concerned got replies again.

From what people saw: of the messages that were said after the blow, when the first was answered in
each group that it concerned; the slowest group counts. A gateway's group is the people who were at
it; any other blow concerns every partition, and those that it did not touch answer at once.
"""

from collections.abc import Iterator, Mapping

from aiokafka.partitioner import murmur2

from tests.crash.people import Person, Said
from tests.faults.lab import Blow


def partition_of(session_id: str, partitions: int) -> int:
    """Where Kafka puts it."""
    return int(murmur2(session_id.encode()) & 0x7FFFFFFF) % partitions


class Recovery:
    """`sessions`: the session of each conversation."""

    def __init__(
        self, people: list[Person], sessions: Mapping[str, str], *, partitions: int
    ) -> None:
        self._answered: list[tuple[int, int, Said]] = []  # who, which partition
        for number, person in enumerate(people):
            for conversation in person.conversations:
                session_id = sessions.get(conversation.id)
                if session_id is None:
                    continue
                partition = partition_of(session_id, partitions)
                self._answered += [
                    (number, partition, said)
                    for said in conversation.said.values()
                    if said.answered_s is not None
                ]

    def seconds(self, blow: Blow) -> float | None:
        """Until the last group that it concerned was answered; None where one never was."""
        firsts: dict[int, float] = {}
        for group, said in self._after(blow):
            assert said.answered_s is not None
            firsts[group] = min(firsts.get(group, said.answered_s), said.answered_s)
        return max(firsts.values()) - blow.at_s if firsts else None

    def _after(self, blow: Blow) -> Iterator[tuple[int, Said]]:
        for number, partition, said in self._answered:
            if said.said_s < blow.at_s:
                continue
            if blow.people is None:
                yield partition, said
            elif number in blow.people:
                yield 0, said
