"""The simulated IM platform: keeps what people send until it is acknowledged, and takes replies.

Before ingress and after egress. It hands over again what a worker did not acknowledge, never out of
order within a session; what it is asked to deliver it takes, refuses, or is away for, as the
stimuli say. What happened there is told to the world as the entries of `testkit.worlds`.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import NamedTuple

from engine.errors import NoReceipt, Refused, Unavailable
from engine.events import Address
from engine.ports import Delivery, Receipt
from engine.pseudonym import Key, session_id
from streams.ingress import Taken
from testkit.worlds import Asked, Wrote

Taking = Callable[..., Taken]
"""Makes the event of something at `now_ms` (a keyword); raises Refused."""
KEYS = (Key(id="k1", secret=b"simulated secret"),)
SLOW_MS_MAX = 3_000
"""A slow call begins or ends at most this much later."""


class Post:
    """Something that a client sends, and keeps until it is told that it is durable.

    `sent`: the message, or what was asked.
    """

    __slots__ = ("number", "partition", "sent", "session_id", "taken")

    def __init__(
        self,
        number: int,
        partition: int,
        *,
        session_id: str,
        taken: Taking,
        sent: Wrote | Asked,
    ) -> None:
        self.number = number
        self.partition = partition
        self.session_id = session_id
        self.taken = taken
        self.sent = sent


class Answer(NamedTuple):
    """What a call came to. `took`: the platform has the reply; `late_ms`: until the caller hears.

    `is_new`: it is no repetition for the platform.
    """

    outcome: Receipt | Refused | Unavailable
    took: bool
    is_new: bool
    late_ms: int

    @property
    def is_refused(self) -> bool:
        """The platform will never take it."""
        return isinstance(self.outcome, Refused) and not isinstance(self.outcome, NoReceipt)

    @property
    def is_unsaid(self) -> bool:
        """The platform has it, and its caller never hears that."""
        return self.took and not isinstance(self.outcome, Receipt)


def reached(address: Address) -> str:
    """The session of the person whom a platform finds at this address."""
    return _session_of((address.channel, address.account, address.conversation, address.sender))


@lru_cache(maxsize=10_000)
def _session_of(there: tuple[str, str, str, str]) -> str:
    channel, account, *who = there
    return session_id(channel, account, who=tuple(who), key=KEYS[0])


class Platform:
    """One platform with an account for each partition."""

    def __init__(self, rng: Random, *, idempotent: bool) -> None:
        self.idempotent = idempotent
        self.moods: deque[str] = deque()
        self._rng = rng
        self._waiting: list[Post] = []
        self._handed: dict[int, Post] = {}
        self._took: set[str] = set()

    # ---- in ----------------------------------------------------------------------------------

    def send(self, post: Post) -> None:
        """To be handed over, after what the session has sent before."""
        self._waiting.append(post)

    def hand_over(self) -> list[Post]:
        """What waits: sessions in any order, each session's own in order."""
        if not self._waiting:
            return []
        posts, self._waiting = self._waiting, []
        if len(posts) > 1:
            by_session: dict[str, list[Post]] = {}
            for post in posts:
                by_session.setdefault(post.session_id, []).append(post)
            groups = list(by_session.values())
            self._rng.shuffle(groups)
            posts = [post for group in groups for post in group]
        for post in posts:
            self._handed[post.number] = post
        return posts

    def done(self, post: Post) -> None:
        """It was acknowledged, or refused for good."""
        self._handed.pop(post.number, None)

    def take_back(self, partition: int) -> None:
        """Nobody there will acknowledge what was handed over: it waits again, in order."""
        again = [post for post in self._handed.values() if post.partition == partition]
        for post in again:
            del self._handed[post.number]
        self._waiting = sorted([*again, *self._waiting], key=lambda post: post.number)

    # ---- out ---------------------------------------------------------------------------------

    def mood(self) -> str:
        """How the next call is treated."""
        return self.moods.popleft() if self.moods else ""

    def begins_late_ms(self) -> int:
        """How long the next call waits for a connection: half of the slow ones do."""
        if self.moods and self.moods[0] == "slow" and self._rng.random() < 0.5:
            self.moods.popleft()
            return self._rng.randrange(1, SLOW_MS_MAX)
        return 0

    def call(self, delivery: Delivery, mood: str) -> Answer:
        """Deliver; a platform that recognises a repetition takes it only once."""
        if mood == "away":
            error = Unavailable("the platform is away")
            return Answer(error, took=False, is_new=False, late_ms=0)
        if mood == "refuses":
            return Answer(Refused("the platform says no"), took=False, is_new=False, late_ms=0)
        is_new = not (self.idempotent and delivery.reply_id in self._took)
        if self.idempotent:
            self._took.add(delivery.reply_id)
        if mood == "silent" and self.idempotent:
            error = Unavailable("the platform did not answer in time")
            return Answer(error, took=True, is_new=is_new, late_ms=0)
        late_ms = self._rng.randrange(1, SLOW_MS_MAX) if mood in ("slow", "silent") else 0
        if mood == "silent":  # nobody may ask it again: whether it took the reply stays unknown
            told = NoReceipt("the platform did not answer in time")
            return Answer(told, took=True, is_new=is_new, late_ms=late_ms)
        receipt = Receipt(platform_ids=(f"p{len(self._took)}",) if self.idempotent else ("p",))
        return Answer(receipt, took=True, is_new=is_new, late_ms=late_ms)
