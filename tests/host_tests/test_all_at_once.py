"""Many people, deaths, stops and full disks in one run, drawn from a seed; judged by the lines."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from engine.errors import Unavailable
from models.scripted import Rule, ScriptedModel
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import dispositions, folds
from tests.host_tests.test_commits import full_disk

PEOPLE = 8
SECONDS = 3.0


def model() -> ScriptedModel:
    return ScriptedModel([Rule(pattern="slow", frames=("a", "a b"), latency_ms=30), Rule()])


class Run:
    """The engine of the moment, and what its people said and had acknowledged."""

    def __init__(self, data: Path, seed: int) -> None:
        self.data = data
        self.chance = random.Random(seed)
        self.engine: Engine | None = None
        self.ended = False
        self.said: dict[str, list[str]] = {f"conversation-{n}": [] for n in range(PEOPLE)}

    async def person(self, to: str) -> None:
        """Says one thing after the other, each as often as it takes."""
        while not self.ended:
            text = f"{self.chance.choice(('slow', 'fast'))} {len(self.said[to])}"
            while not await self.acknowledged(text, to):
                await asyncio.sleep(0.02)
            self.said[to].append(text)
            await asyncio.sleep(self.chance.random() * 0.3)

    async def acknowledged(self, text: str, to: str) -> bool:
        if self.engine is None:
            return False
        said = self.engine.say(text, id=f"message-{text}", to=to)
        try:
            await asyncio.wait_for(said, 3)
        except (Unavailable, TimeoutError):
            return False
        return True

    async def trouble(self) -> None:
        """A full disk, a stop or a death."""
        engine = self.engine
        assert engine is not None
        if self.chance.random() < 0.5:
            with full_disk(self.data, room=self.chance.choice((0, 5_000, 50_000))):
                await asyncio.sleep(self.chance.random() * 0.4)
            return
        self.engine = None
        if self.chance.random() < 0.3:
            await engine.stop(drain_s=self.chance.choice((0.0, 0.05, 2.0)))
        else:
            await engine.die()
        self.engine = await Engine(self.data, model=model()).start()


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_nothing_is_lost_or_doubled(data: Path, seed: int) -> None:
    run = Run(data, seed)
    run.engine = await Engine(data, model=model()).start()
    people = [asyncio.create_task(run.person(to)) for to in run.said]
    until_s = time.monotonic() + SECONDS
    while time.monotonic() < until_s:
        await asyncio.sleep(run.chance.random() * 0.3)
        await run.trouble()
    run.ended = True
    await asyncio.gather(*people)
    engine = run.engine
    assert engine is not None
    for to, said in run.said.items():

        async def all_answered(to: str = to, said: list[str] = said) -> bool:
            return len(await engine.lines(to)) >= 2 * len(said)

        await eventually(all_answered)
        lines = await engine.lines(to)
        assert [line.n for line in lines] == list(range(1, 2 * len(said) + 1))
        assert [line.text for line in lines if line.author == "user"] == said
    await engine.stop()
    assert len(dispositions(data)) == sum(map(len, run.said.values()))
    folds(data)
