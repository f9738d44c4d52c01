"""The parent process: it restarts, it gives up, it stops in order.

That it kills an engine whose step does not end is shown in `tests.bad_input.test_it_is_stuck`.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from streams.embedded import parent
from streams.embedded.data_dir import GUARD_FILE
from streams.embedded.guard import Guard
from streams.embedded.parent import Parent
from tests.channel_tests.clients import Client, person
from tests.host_tests.folding import dispositions, folds
from tests.host_tests.processes import Run, environment


async def ask(run: Run, text: str, cookie: str, n: int) -> str:
    """Say it over a new socket, and read on to the n-th line of the bot."""
    client = await Client.open(run, cookie)
    await client.hello()
    await client.say(f"message-{n:04}", text)
    bots = 0
    while bots < n:
        line = await client.until("line", author="bot")
        bots += 1
    await client.close()
    return str(line["text"])


async def test_an_engine_that_is_killed_is_started_again_and_goes_on(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with Run(env).listening() as run:
        cookie = await person(run)
        assert await ask(run, "hello", cookie, 1) == "hello"
        killed = run.engine
        killed.kill()
        run.listening()
        assert run.engine.pid != killed.pid
        assert "was killed by SIGKILL; restarting it" in run.said
        assert await ask(run, "and on", cookie, 2) == "and on"
        assert run.stop() == 0
    assert dispositions(run.data) == ["answered", "answered"]
    folds(run.data)


async def test_a_stop_of_the_parent_stops_the_engine_in_order(tmp_path: Path) -> None:
    with Run(environment(tmp_path)).listening() as run:
        engine = run.engine
        assert run.stop() == 0
        assert not engine.is_running()


async def test_an_engine_whose_parent_is_gone_stops_by_itself(tmp_path: Path) -> None:
    with Run(environment(tmp_path)).listening() as run:
        engine = run.engine
        run.process.kill()
        run.process.wait()
        await asyncio.to_thread(psutil.wait_procs, [engine], timeout=20)
        assert not engine.is_running()
    with Run(environment(tmp_path)).listening() as again:  # and lets go of the directory
        assert again.stop() == 0


# ---- without an engine: what the parent makes of a child's end ---------------------------------


def supervise(
    tmp_path: Path,
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pause_s: float = 0.0,
    stopped: bool = False,
) -> tuple[int, list[str]]:
    """The parent's code and words, with a child that runs `script`.

    `stopped`: it is asked to stop as soon as it has said something.
    """
    monkeypatch.setattr(parent, "PAUSE_S", (pause_s,))
    monkeypatch.setattr(parent, "LOOK_EVERY_S", 0.02)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if stopped:
            signal.raise_signal(signal.SIGTERM)

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    made = Parent(
        command=[sys.executable, "-c", script],
        guard=tmp_path / GUARD_FILE,
        drain_s=0.2,
        say=say,
        stall_s=0.3,
    )
    try:
        return made.run(), said
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 6])
def test_a_child_that_says_that_a_restart_helps_nobody_is_not_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert supervise(tmp_path, f"raise SystemExit({code})", monkeypatch) == (code, [])


def test_after_many_deaths_in_a_row_the_parent_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "GIVE_UP", 4)
    code, said = supervise(tmp_path, "import os; os._exit(9)", monkeypatch)
    assert code == 70
    assert said[:3] == ["the engine ended with code 9; restarting it"] * 3
    assert said[3:] == ["the engine died 4 times in a row: giving up"]


def test_what_the_last_engine_died_at_does_not_make_the_next_one_look_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer to start than a step may take."""
    Guard(tmp_path / GUARD_FILE).stepping("webchat:web:k1:x/1")
    code, said = supervise(tmp_path, "import time; time.sleep(0.8)", monkeypatch)
    assert (code, said) == (0, [])


def test_a_parent_that_is_stopped_between_two_starts_starts_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"import os; open({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w'); os._exit(9)"
    code, said = supervise(tmp_path, script, monkeypatch, pause_s=30.0, stopped=True)
    assert (code, said) == (0, ["the engine ended with code 9; restarting it in 30 s"])
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 1


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "while True: time.sleep(60)"
    )
    monkeypatch.setattr(parent, "STOP_MARGIN_S", 60)  # which nobody waits for
    began_s = time.monotonic()
    assert supervise(tmp_path, script, monkeypatch) == (0, [])
    assert time.monotonic() - began_s < 30


def test_a_child_that_does_not_stop_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    )
    monkeypatch.setattr(parent, "STOP_MARGIN_S", 0.3)
    began_s = time.monotonic()
    code, said = supervise(tmp_path, script, monkeypatch)
    assert code == 0
    assert said == ["the engine did not stop in time: killing it; nothing that was taken is lost"]
    assert time.monotonic() - began_s < 10
