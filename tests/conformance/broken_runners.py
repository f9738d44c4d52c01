"""Runners that break one promise each: the scripted ones, with one thing wrong.

For `test_broken_runners`, which wants the suites to notice. The comment is the promise.
"""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from engine.effects import IntentRequest, ModelRequest, SkillRequest
from engine.errors import Refused
from engine.events import IntentFound, ModelFailed, ModelReplied, Outcome, SkillDone, SkillFailed
from models.scripted import MADE_BY, Rule, ScriptedIntents, ScriptedModel, Show

CHILDREN: list[subprocess.Popen[bytes]] = []
"""What a broken runner leaves behind, so that the test can end it."""


def end_children() -> None:
    """Kill them all."""
    for process in CHILDREN:
        process.kill()
        process.wait()
    CHILDREN.clear()


HELLO = Rule(pattern="hello", text="hello you", frames=("hello", "hello you"), latency_ms=5)
STORY = Rule(pattern="story|and then", frames=("once", "once upon a time"), latency_ms=None)


class Model(ScriptedModel):
    """Answers hello, and never ends a story."""

    def __init__(self) -> None:
        super().__init__([HELLO, STORY, Rule(text="what was that?")])


class Unmarked(Model):  # an outcome says what made it
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        return ModelReplied(text="hello")


class Pieces(Model):  # the whole text so far
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        return await super().run(request, lambda text: show(text.removeprefix("hello ")))


class Stutters(Model):  # … as often as it grows
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        def twice(text: str) -> None:
            show(text)
            show(text)

        return await super().run(request, twice)


class OnlyStreams(Model):  # a request that does not stream
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        if not request.stream:
            return ModelFailed(reason="refused", made_by=MADE_BY)
        return await super().run(request, show)


class Delicate(Model):  # whatever was written
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        request.lines[-1].text.encode()
        return await super().run(request, show)


class OneAtATime(Model):  # each call its own outcome
    digest = ""

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        self.digest = request.request_digest
        outcome = await super().run(request, show)
        assert isinstance(outcome, ModelReplied)
        return replace(outcome, made_by=replace(MADE_BY, request_digest=self.digest))


class DiesOfIt(Model):  # a call that cannot be shown costs no other
    dead = False

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        if self.dead:
            return ModelFailed(reason="died", made_by=MADE_BY)
        try:
            return await super().run(request, show)
        except LookupError:
            self.dead = True
            raise


class Uncancelled(Model):  # a cancelled call ends, and shows nothing more
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        try:
            return await super().run(request, show)
        except asyncio.CancelledError:
            await asyncio.sleep(0.6)
            raise


class Decodes(Model):  # nothing works on for a cancelled call
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        for _ in range(4):  # as much as a model would: one alone has little on a busy machine
            CHILDREN.append(subprocess.Popen([sys.executable, "-SEc", "while True: pass"]))
        return await super().run(request, show)

    async def close(self) -> None:
        end_children()
        await super().close()


class CutShort(Model):  # a call that is cancelled early is cancelled
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return ModelFailed(reason="died", made_by=MADE_BY)
        return await super().run(request, show)


class Forsakes(Model):  # closing ends calls in hand
    async def close(self) -> None:
        pass


class ClosesOnce(Model):  # closing twice is no error
    closed = False

    async def close(self) -> None:
        assert not self.closed
        self.closed = True


class Leaves(Decodes):  # closing leaves no process
    async def close(self) -> None:
        pass


class NeedsStart(Model):  # one that was never started is closed
    started = False

    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        assert self.started
        await super().close()


class RaisesClosed(Model):  # a call of a closed runner is an outcome
    closed = False

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        if self.closed:
            raise RuntimeError("closed")
        return await super().run(request, show)

    async def close(self) -> None:
        self.closed = True


class Failing(ScriptedModel):
    """Each call fails."""

    detail = ""

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        return ModelFailed(reason="unavailable", detail=self.detail, made_by=MADE_BY)


class FailsAloud(Failing):  # … and is an outcome
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        raise ConnectionError


class Quotes(Failing):  # … that quotes nothing
    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        said = request.lines[-1].text
        return ModelFailed(reason="unavailable", detail=f"no answer to {said}", made_by=MADE_BY)


class FailsThenRaises(Failing):  # … and costs no other
    busy = 0

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        self.busy += 1
        if self.busy > 5:
            raise MemoryError
        return await super().run(request, show)


class Hopeless(ScriptedModel):
    """Can never work, and says so."""

    async def start(self) -> None:
        raise Refused("there is no such file: name another")


class Hopeful(Hopeless):  # start refuses
    async def start(self) -> None:
        pass


class Rambles(Hopeless):  # … in one line
    async def start(self) -> None:
        raise Refused("there is no such file\nTraceback …")


class SilentIntents(ScriptedIntents):  # an intent has a name
    async def run(self, request: IntentRequest) -> Outcome:
        return IntentFound(intent="", made_by=MADE_BY)


class DelicateIntents(ScriptedIntents):  # whatever was written
    async def run(self, request: IntentRequest) -> Outcome:
        request.text.encode()
        return await super().run(request)


class Moody(ScriptedIntents):  # the same text means the same
    calls = 0

    async def run(self, request: IntentRequest) -> Outcome:
        self.calls += 1
        return IntentFound(intent=f"intent {self.calls}", made_by=MADE_BY)


class Deaf(ScriptedIntents):  # a cancelled look-up ends
    async def run(self, request: IntentRequest) -> Outcome:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await asyncio.sleep(0.4)
        return await super().run(request)


class Skills:
    """A skill runner of child processes, one for each call: good, fails and hangs."""

    def __init__(self) -> None:
        self.running: set[asyncio.subprocess.Process] = set()
        self.closed = False

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True
        for process in self.running:
            process.kill()

    async def run(self, request: SkillRequest, now_ms: int) -> Outcome:
        within_s = (request.expires_ms - now_ms) / 1_000
        if within_s <= 0:
            return SkillFailed(reason="expired", made_by=MADE_BY)
        if request.skill == "hangs":
            return await self.hang(Path(request.text), within_s)
        if self.closed or request.skill != "good":
            return SkillFailed(reason="unavailable", made_by=MADE_BY)
        return self.answer(request)

    def answer(self, request: SkillRequest) -> Outcome:
        return SkillDone(text="done", made_by=MADE_BY)

    async def hang(self, note: Path, within_s: float) -> Outcome:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        self.running.add(process)
        note.write_text(f"{process.pid}\n")
        try:
            await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError:
            return SkillFailed(reason="timeout", made_by=MADE_BY)
        finally:
            self.running.discard(process)
            if process.returncode is None:
                process.kill()
            await process.wait()
        return SkillFailed(reason="died", made_by=MADE_BY)


class UnmarkedSkills(Skills):  # an outcome says what made it
    def answer(self, request: SkillRequest) -> Outcome:
        return SkillDone(text="done")


class QuotingSkills(Skills):  # a failure quotes nothing
    async def run(self, request: SkillRequest, now_ms: int) -> Outcome:
        if request.skill == "fails":
            return SkillFailed(reason="error", detail=request.text, made_by=MADE_BY)
        return await super().run(request, now_ms)


class PickySkills(Skills):  # a skill that nobody knows is an outcome
    async def run(self, request: SkillRequest, now_ms: int) -> Outcome:
        if request.skill not in ("good", "fails", "hangs"):
            raise KeyError(request.skill)
        return await super().run(request, now_ms)


class DelicateSkills(Skills):  # whatever was written
    def answer(self, request: SkillRequest) -> Outcome:
        request.text.encode()
        return super().answer(request)


class LateSkills(Skills):  # what has expired is not started
    def run(self, request: SkillRequest, now_ms: int) -> Coroutine[Any, Any, Outcome]:
        return super().run(replace(request, expires_ms=request.expires_ms + 20_000), now_ms)


class Patient(Skills):  # no call outlives its request
    async def hang(self, note: Path, within_s: float) -> Outcome:
        return await super().hang(note, 60)


class Orphans(Skills):  # processes are killed
    async def hang(self, note: Path, within_s: float) -> Outcome:
        CHILDREN.append(subprocess.Popen(["sleep", "30"]))
        note.write_text(f"{CHILDREN[-1].pid}\n")
        await asyncio.sleep(within_s)
        return SkillFailed(reason="timeout", made_by=MADE_BY)


class OneSkillAtATime(Skills):  # many calls at once are answered
    busy = 0

    async def run(self, request: SkillRequest, now_ms: int) -> Outcome:
        self.busy += 1
        try:
            await asyncio.sleep(0)
            if self.busy > 10:
                return SkillFailed(reason="unavailable", made_by=MADE_BY)
            return await super().run(request, now_ms)
        finally:
            self.busy -= 1


class ForsakingSkills(Skills):  # closing ends calls in hand
    async def close(self) -> None:
        pass


class NeedStart(Skills):  # one that was never started is closed
    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        assert self.started
        await super().close()


class OpenAfterAll(Skills):  # a closed runner runs nothing
    async def close(self) -> None:
        await super().close()
        self.closed = False
