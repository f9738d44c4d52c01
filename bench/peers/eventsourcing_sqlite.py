"""pyeventsourcing on SQLite: an aggregate per session, kept in the library's cache.

Two saves a turn: the message; the outcome with the reply. It sets WAL itself, and SQLite's own
`synchronous=FULL` stands. One thread, since its SQLite recorder has one writer at a time; the
cache holds all busy sessions and hands out the aggregate itself, not a copy (its fastest form).
Run in its own environment by `bench.peers.run_peer`.
"""

import sys
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event

from bench.load import REPLY, fresh, text
from bench.peers.adapter import each_load_threads

THREADS = 1


class Session(Aggregate):
    """One conversation."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.state = "idle"
        self.turn = 0
        self.text = ""
        self.outcome = ""
        self.reply = ""

    @staticmethod
    def create_id(key: str) -> UUID:
        """Derive the aggregate's id from the session's."""
        return uuid5(NAMESPACE_URL, f"/session/{key}")

    @event("MessageReceived")
    def receive(self, text: str) -> None:
        """Record the message; the session thinks."""
        self.state = "thinking"
        self.text = text

    @event("OutcomeRecorded")
    def record_outcome(self, outcome: str) -> None:
        """Record what the model said."""
        self.outcome = outcome

    @event("Replied")
    def answer(self, reply: str) -> None:
        """Record the reply; the session is idle."""
        self.state = "idle"
        self.turn += 1
        self.reply = reply


class Bot(Application[UUID]):
    """The application that a user writes."""

    def take_turn(self, key: str, text: str) -> Session:
        """Answer one message."""
        try:
            session: Session = self.repository.get(Session.create_id(key))
        except AggregateNotFoundError:
            session = Session(key)
        session.receive(text)
        self.save(session)
        session.record_outcome(REPLY)
        session.answer(REPLY)
        self.save(session)
        return session


def main() -> None:
    """Open the store and take the loads."""
    bot = Bot(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(fresh("eventsourcing") / "events.db"),
            "AGGREGATE_CACHE_MAXSIZE": "5000",
            "DEEPCOPY_FROM_AGGREGATE_CACHE": "n",
        }
    )

    def turn(key: str, number: int) -> None:
        ended = bot.take_turn(key, text(number))
        assert (ended.state, ended.reply) == ("idle", REPLY), ended

    each_load_threads("eventsourcing", sys.argv[1:], turn=turn, threads=THREADS)


if __name__ == "__main__":
    main()
