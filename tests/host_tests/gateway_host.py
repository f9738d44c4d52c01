"""The embedded host as the gateway's suites see it: the engine of `engines`, read from its file."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from engine import codec
from engine.events import Event, FeedbackGiven, MessageReceived, StopRequested
from engine.ports import Gateway
from testkit.conformance import Took
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import opened
from tests.host_tests.test_commits import full_disk


def counted(events: Sequence[Event]) -> list[Took]:
    """What people did, each once: a repetition has the same event id."""
    found: dict[str, Took | None] = {}
    for event in events:
        found.setdefault(event.id, _took(event))
    return [took for took in found.values() if took is not None]


def _took(event: Event) -> Took | None:
    match event.body:
        case MessageReceived(message_id=message_id, text=text):
            return Took("message", message_id, text)
        case StopRequested(reply_id=reply_id):
            return Took("stop", reply_id)
        case FeedbackGiven(reply_id=reply_id, verdict=verdict, text=text):
            return Took(verdict, reply_id, text)
    return None


class EmbeddedGatewayHost:
    """An engine over `data`, whose model echoes."""

    account = "web"

    def __init__(self, data: Path) -> None:
        self._data = data
        self._full = ExitStack()

    async def __aenter__(self) -> "EmbeddedGatewayHost":
        self._engine = await Engine(self._data).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._full.close()
        await self._engine.stop()

    @property
    def gateway(self) -> Gateway:
        return self._engine.gateway

    async def took(self, session_id: str) -> Sequence[Took]:
        log = opened(self._data)
        try:
            return counted([codec.decode_event(one.value) for one in log.history(session_id)])
        finally:
            log.close()

    async def restart(self) -> None:
        await self._engine.die()
        self._engine = await Engine(self._data).start()

    async def fail(self) -> None:
        self._full.enter_context(full_disk(self._data))

    async def mend(self) -> None:
        self._full.close()
        await eventually(lambda: not self._engine.host.fault)
