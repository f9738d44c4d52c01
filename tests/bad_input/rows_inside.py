"""Rows: what goes wrong inside. Models, skills, callbacks, the clock, the disk."""

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import patch

from engine.effects import ModelRequest
from engine.errors import Unavailable
from engine.events import ModelFailed, ModelReplied, Outcome
from models.openai_compatible import OpenAICompatible, OpenAISettings
from models.scripted import ScriptedModel
from streams import machine_clock
from streams.embedded.store import last_at_ms
from tests.bad_input.scene import NEXT, Row, Scene
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.test_commits import full_disk
from tests.model_tests import openai_server

HOUR_MS = 3_600_000
SORRY = '"text": "Sorry, I could not answer that just now'
Show = Callable[[str], None]


def asks(scene: Scene) -> Awaitable[str]:
    return scene.say("rubbish, please")


# ---- models --------------------------------------------------------------------------------------


class RubbishModel(ScriptedModel):
    """Does `wrong` where it is asked for rubbish; else it repeats what was said."""

    def __init__(self, wrong: Callable[[Show], Awaitable[object]]) -> None:
        super().__init__()
        self._wrong = wrong

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        if "rubbish" in request.lines[-1].text:
            return await self._wrong(show)  # type: ignore[return-value]
        return await super().run(request, show)


def model(wrong: Callable[[Show], Awaitable[object]]) -> Callable[[], dict[str, object]]:
    return lambda: {"model": RubbishModel(wrong), "config": {"model_within_s": 1}}


async def returns_nothing(show: Show) -> object:
    return None


async def raises(show: Show) -> object:
    raise RuntimeError("a bug in the runner")


async def cancels_itself(show: Show) -> object:
    raise asyncio.CancelledError


async def is_silent(show: Show) -> object:
    await asyncio.Event().wait()
    return None


async def is_empty(show: Show) -> object:
    return ModelReplied(text=" \x00\n")


async def is_dead(show: Show) -> object:
    return ModelFailed(reason="died", detail="it was ended by SIGSEGV \ud800\x00" * 1_000)


async def is_broken(show: Show) -> object:
    for text in ("\ud800", "a\ud800b\x00\x1b[2J", "\ud800" * 100_000):
        show(text)
        await asyncio.sleep(0.11)
    return ModelReplied(text="a\ud800b\x00\x1b[2J")


async def has_no_end(show: Show) -> object:
    text = "字" * MANY
    show(text)
    return ModelReplied(text=text)


async def shows_broken_and_matches(show: Show) -> object:
    show("系统错误\ud800")
    await asyncio.sleep(10)
    return None


MANY = 400_000
FALLBACK = {"fallback_strategies": [{"pattern": "^系统错误", "action": "escalate_to_human"}]}


async def handed_over(scene: Scene) -> str:
    told = await asks(scene)
    (handed,) = await scene.engine.host.operator_sessions()
    await scene.engine.host.hand_back(handed.session_id, request_id="r1", operator="ann")
    await scene.told()
    return told


def server_that(*answers: openai_server.Answer) -> Callable[[Scene], Awaitable[str]]:
    """The model behind a real HTTP server, which answers so and then well."""

    async def does(scene: Scene) -> str:
        async with openai_server.serving(*answers, openai_server.says(NEXT)) as server:
            runner = OpenAICompatible(
                OpenAISettings(
                    base_url=server.url, model="m", tries=1, read_timeout_s=0.5, timeout_s=2
                )
            )
            await runner.start()
            with patch.object(scene.engine.host._performers, "_model", runner):
                told = await asks(scene)
                await scene.is_answered()
            await runner.close()
            return told

    return does


MODELS = [
    Row(group="models", wrong="no outcome at all", does=asks, told=SORRY,
        ends=("failed",), engine=model(returns_nothing)),
    Row(group="models", wrong="an exception", does=asks, told=SORRY,
        ends=("failed",), engine=model(raises)),
    Row(group="models", wrong="it cancels itself", does=asks, told=SORRY,
        ends=("failed",), engine=model(cancels_itself)),
    Row(group="models", wrong="no answer, ever", does=asks, told=SORRY,
        ends=("failed",), engine=model(is_silent)),
    Row(group="models", wrong="an answer without a text", does=asks, told=SORRY,
        ends=("failed",), engine=model(is_empty)),
    Row(group="models", wrong="it died, and says so in rubbish", does=asks, told=SORRY,
        ends=("failed",), engine=model(is_dead)),
    Row(group="models", wrong="halves of characters and escapes", does=asks,
        told='"text": "a\ufffdb\\[2J"', ends=("answered",), engine=model(is_broken)),
    Row(group="models", wrong="a megabyte of answer", does=asks,
        told='"text": "字{8192}"', ends=("answered",), engine=model(has_no_end)),
    Row(group="models", wrong="rubbish that a fallback strategy matches", does=handed_over,
        told="passing this on", ends=("forwarded",),
        engine=lambda: {"model": RubbishModel(shows_broken_and_matches), "config": FALLBACK}),
    Row(group="models", wrong="its server answers with a page of HTML",
        does=server_that(openai_server.stream(b"<html>502</html>")), told=SORRY,
        ends=("failed",)),
    Row(group="models", wrong="its server breaks off in the middle",
        does=server_that(openai_server.then_resets(openai_server.event("so"))),
        told='"text": "so".*"how": "failed"',
        ends=("failed",)),
    Row(group="models", wrong="its server is silent",
        does=server_that(openai_server.then_hangs()), told=SORRY, ends=("failed",)),
]  # fmt: skip

# ---- skills that run -----------------------------------------------------------------------------


def runs(skill: str) -> Row:
    return Row(
        group="skills",
        wrong=f"the skill {skill}",
        does=lambda scene: scene.say(f"run {skill} on this"),
        told=SORRY,
        ends=("failed",),
        engine=lambda: {"skills": (skill,), "within_s": 1.0},
        skills=(skill,),
    )


SKILLS = [runs(name) for name in ("Raises", "Dies", "Hangs", "HangsInC", "Numbers", "Surrogate")]

# ---- callbacks -----------------------------------------------------------------------------------


def rogue() -> dict[str, object]:
    return {"flow": "rogue"}


CALLBACKS = [
    Row(group="callbacks", wrong="one raises", does=lambda scene: scene.say("raise"),
        told=SORRY, ends=("failed",), engine=rogue),
    Row(group="callbacks", wrong="one calls itself without end",
        does=lambda scene: scene.say("recurse"), told=SORRY, ends=("failed",), engine=rogue),
    Row(group="callbacks", wrong="one says more than a record may hold",
        does=lambda scene: scene.say("flood"), told=SORRY, ends=("failed",), engine=rogue),
]  # fmt: skip

# ---- the clock -----------------------------------------------------------------------------------


def jumps(by_ms: int) -> Callable[[Scene], Awaitable[str]]:
    """While it runs, with a request and the idle timer pending."""

    async def does(scene: Scene) -> str:
        before_ms = scene.engine.host.now_ms()
        with patch.object(machine_clock, "wall_ms", lambda: before_ms + by_ms):
            told = await scene.say("hello")
            await asyncio.sleep(0.1)
            assert 0 <= scene.engine.host.now_ms() - before_ms < HOUR_MS / 2
        return told

    return does


def jumped(by_ms: int) -> Callable[[Scene], Awaitable[str]]:
    """Between two starts, with a session in a person's hands for fifteen minutes."""

    async def does(scene: Scene) -> str:
        other = scene.data.with_name("jumped")
        async with Engine(other) as engine:
            await engine.ask("hello")
            await engine.ask("human")
            await engine.texts()
            last_ms = last_at_ms(engine.host._store)  # type: ignore[arg-type]
        with patch.object(machine_clock, "wall_ms", lambda: last_ms + by_ms):
            engine = Engine(other)
        async with engine:
            assert engine.host.now_ms() >= last_ms
            if by_ms > 0:  # the time-out is long over: nobody came
                assert (await engine.answer(3)).text.startswith("Nobody is free")
            else:
                (handed,) = await engine.host.operator_sessions()
                await engine.host.hand_back(handed.session_id, request_id="r", operator="ann")
                await engine.answer(3)
            said = await engine.ask("and on")
            times = [line.at_ms for line in await engine.lines()]
            assert times == sorted(times)
        return said

    return does


CLOCK = [
    Row(group="clock", wrong="an hour ahead while it runs", does=jumps(HOUR_MS),
        told='"text": "hello"', ends=("answered",)),
    Row(group="clock", wrong="an hour back while it runs", does=jumps(-HOUR_MS),
        told='"text": "hello"', ends=("answered",)),
    Row(group="clock", wrong="an hour ahead between two starts", does=jumped(HOUR_MS),
        told="and on"),
    Row(group="clock", wrong="an hour back between two starts", does=jumped(-HOUR_MS),
        told="and on"),
]  # fmt: skip

# ---- the disk ------------------------------------------------------------------------------------


async def disk_full(scene: Scene) -> str:
    with full_disk(scene.data):
        told = await scene.say("is there space?")
        assert (await scene.http.get("/readyz")).status_code == 503
        assert (await scene.http.get("/healthz")).status_code == 200
    await eventually(lambda: not scene.engine.host.fault)
    return told


async def disk_full_meanwhile(scene: Scene) -> str:
    """The message is in; its answer finds no space, and comes when there is some."""
    engine = scene.engine
    await scene.client.send(
        type="message", conversation="conversation-1", id="before-it-is-full", text="wait 400 ms"
    )
    await scene.client.until("ack")
    with full_disk(scene.data):
        await eventually(lambda: engine.host.fault)
    return await scene.told()


async def log_is_busy(scene: Scene) -> str:
    """Another process holds SQLite's own lock for longer than a commit waits."""
    import sqlite3

    from streams.embedded import LOG_FILE

    other = sqlite3.connect(scene.data / LOG_FILE, isolation_level=None)
    other.execute("begin immediate")
    try:
        await scene.engine.say("is it mine?", to="conversation-2")
        return "taken"
    except Unavailable as error:
        return str(error)
    finally:
        other.execute("rollback")
        other.close()
        await eventually(lambda: not scene.engine.host.fault)


STORAGE = [
    Row(group="storage", wrong="a full disk", does=disk_full,
        told="unavailable.*not able to write its log|unavailable.*is the disk full"),
    Row(group="storage", wrong="a disk that fills up while the model answers",
        does=disk_full_meanwhile, told='"text": "wait 400 ms"', ends=("answered",),
        engine=lambda: {"model": _waits()}),
    Row(group="storage", wrong="another process locks the database", does=log_is_busy,
        told="not able to write its log"),
]  # fmt: skip


def _waits() -> ScriptedModel:
    from models.scripted import WAITS

    return ScriptedModel(WAITS)


ROWS = [*MODELS, *SKILLS, *CALLBACKS, *CLOCK, *STORAGE]
