"""A conversation on a world of the test kit: the simulator, with its faults, or its pure step.

Line by line, what is expected is looked up in the world's evidence; at the end the world comes to
rest and the laws are checked. Nothing is impossible here: what is not there does not happen, as in
generated dialogs.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from engine import codec
from engine.effects import Forward, IntentRequest, ModelRequest, RunnerRequest
from engine.errors import Refused
from engine.flow import Flow
from engine.session import Session, StepRecord
from engine.transcript import expand
from streams.chat import lines
from streams.chat.lines import Head
from streams.chat.run import CannotHappen
from streams.chat.text import counted
from testkit import laws
from testkit.chat_reader import Reader, script_of
from testkit.happening import rested
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.surroundings import Surroundings, simulator
from testkit.worlds import Evidence, Received, Wrote

EVERYTHING = 1_000_000_000


def world_of(flow: Flow, script: Script, *, head: Head) -> Simulator | PureWorld:
    """The world that the top of a file asks for."""
    seed = head.seed or 0
    if head.world == "simulator":
        return simulator(flow, script, seed=seed, around=around_of(head))
    return PureWorld(flow, script=script, seed=seed)


def around_of(head: Head) -> Surroundings:
    """What the top of a file says of the simulator."""
    return Surroundings(
        idempotent=head.platform != "forgetful",
        limit=head.limit,
        outbox=head.platform == "web chat",
        changes_flow=head.flow_changes == "yes",
    )


def kind_of(request: RunnerRequest) -> lines.Kind:
    """What a line calls it."""
    if isinstance(request, ModelRequest):
        return "model"
    return "intent" if isinstance(request, IntentRequest) else "skill"


class WorldTalk:
    """The Talk port on a world."""

    def __init__(
        self, world: Simulator | PureWorld, reader: Reader, *, people: Sequence[str]
    ) -> None:
        self.world = world
        self._reader = reader
        self._people = list(people)

    # ---- the Talk port -----------------------------------------------------------------------

    def act(self, line: lines.Happens | lines.Fault) -> None:
        """Let it happen; what comes in may wait for what comes next."""
        if isinstance(line, lines.Answers | lines.Fails | lines.Breaks) and line.number is None:
            line = replace(line, number=self._number(line))
        try:
            stimulus = self._reader.stimulus(line)
        except Refused as error:
            raise CannotHappen(str(error)) from None
        self.world.act(stimulus)

    def settle(self) -> None:
        """Let all that follows follow."""
        self.world.evidence()

    def told(self, who: str) -> Sequence[str]:
        """All that reached them so far."""
        session_id = self._session_id(who)
        return [
            seen.text
            for seen in self._evidence().seen
            if isinstance(seen, Received) and seen.session_id == session_id
        ]

    def forwarded(self, who: str) -> Sequence[str]:
        """All messages of theirs that operators were shown."""
        effects = [effect.body for record in self._records(who) for effect in record.effects]
        return [body.text for body in effects if isinstance(body, Forward)]

    def state(self, who: str) -> str:
        """The leaf that their dialog is in."""
        session = self._session(who)
        return self.world.flow.initial if session is None else session.state

    def ending(self, who: str, number: int | None) -> str:
        """How a message of theirs ended; `waiting` while it has not."""
        theirs = [seen for seen in self._wrote() if self._people[seen.user] == who]
        at = len(theirs) if number is None else number
        if not 1 <= at <= len(theirs):
            raise CannotHappen(f"{who} has written {counted(len(theirs), 'message')}")
        for record in self._records(who):
            for one in record.dispositions:
                if one.message == theirs[at - 1].event_id:
                    return one.how
        return "waiting"

    def asked(self, who: str, kind: lines.Kind) -> str | None:
        """What their newest pending request of this kind is about."""
        session_id = self._session_id(who)
        for request in reversed(self.pending()):
            if request.session_id == session_id and kind_of(request) == kind:
                return request.lines[-1].text if isinstance(request, ModelRequest) else request.text
        return None

    # ---- beyond it ---------------------------------------------------------------------------

    def pending(self) -> list[RunnerRequest]:
        """The requests that wait for their end, the oldest first, as stimuli count them."""
        self.settle()
        if isinstance(self.world, Simulator):
            return list(self.world.cluster.pending.values())
        return _requests(self.world.evidence())

    def judged(self) -> list[str]:
        """Let the world come to rest; what laws do not hold then, in words."""
        evidence, ended = rested(self.world)
        return [f"{one.law}: {one.what}" for one in ended or laws.check(evidence)]

    def _number(self, line: lines.Answers | lines.Fails | lines.Breaks) -> int:
        """The oldest request that is meant; the first where there is none."""
        wanted = self._session_id(line.who) if line.who else ""
        for number, request in enumerate(self.pending(), start=1):
            theirs = not wanted or request.session_id == wanted
            if theirs and line.kind in ("request", kind_of(request)):
                return number
        return 1

    def _evidence(self) -> Evidence:
        """What there is to see, without letting anything follow that has not yet."""
        world = self.world
        if not isinstance(world, Simulator):
            return world.evidence()
        cluster = world.cluster
        return Evidence(logs=cluster.logs, seen=cluster.seen, flows={}, idempotent=world.idempotent)

    def _wrote(self) -> list[Wrote]:
        return [seen for seen in self._evidence().seen if isinstance(seen, Wrote)]

    def _session_id(self, who: str) -> str:
        ids = (s.session_id for s in self._wrote() if self._people[s.user] == who)
        return next(ids, "")

    def _session(self, who: str) -> Session | None:
        session_id = self._session_id(who)
        for log in self._evidence().logs:
            value = log.get(session_id) if session_id else None
            if value is not None:
                return codec.decode_session(value)
        return None

    def _records(self, who: str) -> list[StepRecord]:
        session_id = self._session_id(who)
        return [
            codec.decode_step(row.value)
            for log in self._evidence().logs
            for row in log.steps(session_id, after_seq=0, limit=EVERYTHING)
        ]


def _requests(evidence: Evidence) -> list[RunnerRequest]:
    """What the sessions of one log wait for, in the order in which they asked."""
    (log,) = evidence.logs
    found: list[tuple[int, RunnerRequest]] = []
    for session_id, value in log.sessions(limit=EVERYTHING):
        session = codec.decode_session(value)
        waiting = {pending.effect_id for pending in session.pending}
        for row in log.steps(session_id, after_seq=0, limit=EVERYTHING) if waiting else ():
            effects = codec.decode_step(row.value).effects
            found += [(row.offset, expand(session, one)) for one in effects if one.id in waiting]
    return [request for _, request in sorted(found, key=lambda one: one[0])]


# ---- a dialog of a file --------------------------------------------------------------------------


def talk_on_world(flow: Flow, head: Head, *, dialog: Sequence[lines.AnyLine]) -> WorldTalk:
    """The world that the head asks for, with the words of these lines."""
    people = lines.people(head, dialog)
    script = script_of(head, dialog, people=people)
    return WorldTalk(world_of(flow, script, head=head), Reader(script, people), people=people)
