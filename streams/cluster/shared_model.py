"""One model for all roles of a process: begun by the first that starts it, ended by the last."""

from collections.abc import Callable, Coroutine

from engine.effects import ModelRequest
from engine.events import Outcome
from engine.ports import ModelRunner


class SharedModel:
    """A `ModelRunner` that several roles start and close, each once."""

    def __init__(self, model: ModelRunner) -> None:
        self._model = model
        self._users = 0

    async def start(self) -> None:
        """Make ready, if nobody has."""
        self._users += 1
        if self._users == 1:
            await self._model.start()

    async def close(self) -> None:
        """End it, if nobody else needs it."""
        self._users -= 1
        if self._users == 0:
            await self._model.close()

    def run(
        self, request: ModelRequest, show: Callable[[str], None]
    ) -> Coroutine[None, None, Outcome]:
        """Answer."""
        return self._model.run(request, show)
