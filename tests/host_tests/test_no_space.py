"""A disk without space at the start: told once, tried again, and given up with a code of its own.

A limit on the size of the process's files stands for the disk: it needs no rights and no file
system, and the kernel takes it away from a running process as space is freed.
"""

import asyncio
import os
import resource
import sys
from pathlib import Path

import pytest

from console.exit_codes import ExitCode
from engine.errors import Unavailable
from streams.embedded import data_dir
from tests.channel_tests.clients import Client, person
from tests.host_tests.engines import eventually
from tests.host_tests.processes import COMMAND, Run, environment, impatient_parent

ROOM = 4_096
"""Enough for the keys and for what is said on stderr, too little for a log."""
NO_ROOM = (
    f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, -1)); "
    "os.execv(sys.executable, sys.argv[1:])"
)
TOLD = "not able to start, and trying again"


async def test_an_engine_without_space_says_so_once_and_starts_when_there_is_some(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    with Run(env, command=(sys.executable, "-c", NO_ROOM, *COMMAND)) as run:
        await eventually(lambda: TOLD in run.said)
        await asyncio.sleep(1)  # the second and third try
        assert run.said.count(TOLD) == 1
        assert "is the disk full?" in run.said
        for pid in (run.process.pid, run.engine.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))
        run.listening()
        client = await Client.open(run, await person(run))
        await client.hello()
        await client.say("message-0001", "is there space?")
        await client.until("line", author="bot", text="is there space?")
        await client.close()
        assert run.stop() == 0
        assert "restarting it" not in run.said


async def test_a_stop_is_heard_while_an_engine_waits_for_space(tmp_path: Path) -> None:
    with Run(environment(tmp_path), command=(sys.executable, "-c", NO_ROOM, *COMMAND)) as run:
        await eventually(lambda: TOLD in run.said)
        assert run.stop() == 0


def test_where_space_stays_away_it_gives_up_with_the_code_for_that(tmp_path: Path) -> None:
    command = (sys.executable, "-c", NO_ROOM, *impatient_parent())
    with Run(environment(tmp_path), command=command) as run:
        assert run.ended() == ExitCode.UNAVAILABLE
    assert run.said.count(TOLD) == 1
    *_, last = run.said.splitlines()
    assert last.startswith("Error: given up after 4 tries in 0 s; start it again once ")
    assert last.endswith("is the disk full?")


def test_keys_that_find_no_space_are_not_made_by_halves(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(Unavailable, match="free some space"):
            data_dir.keys(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []
    assert data_dir.keys(tmp_path) == data_dir.keys(tmp_path)
