"""Callbacks that no exception can be made of: the process dies, or must be killed, each time.

`ai-assistant run` with a shorter patience: the parent restarts the engine, the third death makes
the message a dead letter, and whoever wrote it is told something.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.bad_input.scene import NEXT
from tests.channel_tests.clients import Client, person
from tests.host_tests.folding import dispositions, folds, opened
from tests.host_tests.plugins import installed
from tests.host_tests.processes import COMMAND, Run, environment

ENGINE = (*COMMAND, "--engine")
PATIENCE_S = "1.0"
IMPATIENT = (sys.executable, "-m", "tests.host_tests.processes", PATIENCE_S, *ENGINE)
ROWS = {
    "callbacks: one never ends": ("hang", "does not end: killing the engine"),
    "callbacks: one ends the process": ("be killed", "was killed by SIGKILL; restarting it"),
}


@pytest.mark.parametrize("row", ROWS)
async def test_after_three_deaths_the_message_is_set_aside_and_the_next_is_answered(
    row: str, tmp_path: Path
) -> None:
    text, said = ROWS[row]
    plugins = installed(tmp_path / "plugins")
    env = environment(tmp_path, plugins, AI_ASSISTANT_FLOW__NAME="rogue")
    with Run(env, command=IMPATIENT).listening() as run:
        cookie = await person(run)
        for _ in range(3):
            client = await Client.open(run, cookie)
            await client.hello()
            await client.say("message-0001", text)
            await asyncio.to_thread(run.listening)  # once it was dead and has started again
            await client.close()
        assert run.said.count(said) == 3
        client = await Client.open(run, cookie)
        await client.hello()
        await client.say("message-0001", text)
        sorry = await client.until("line", author="bot")
        assert sorry["text"].startswith("Sorry, I could not answer that")
        await client.say("message-0002", NEXT)
        await client.until("line", author="bot", text=NEXT)
        assert [line["n"] for line in client.lines] == [1, 2, 3, 4]
        await client.close()
        assert run.stop() == 0
    log = opened(run.data)
    (letter,) = log.dead_letters()
    assert "died each time it stepped" in letter.error
    log.close()
    assert dispositions(run.data) == ["answered"]
    _folds_with_the_plugin(plugins, run.data)


def _folds_with_the_plugin(plugins: Path, data: Path) -> None:
    sys.path.insert(0, str(plugins))
    try:
        assert folds(data) > 0
    finally:
        sys.path.remove(str(plugins))
