"""A broker of `make kafka-cluster` that is lost: it is seen, and started again as it is told."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka_tests import processes
from tests.kafka_tests.test_topics import asked

WITHIN_S = 90


def until(holds: Callable[[], bool], *, what: Path) -> None:
    give_up_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < give_up_s, what.read_text()
        time.sleep(0.2)


def free_port() -> int:
    """One above which the two others and the three controllers have room, too, most likely."""
    for first in range(21_000, 29_000, 10):
        with socket.socket() as probe, socket.socket() as other:
            try:
                probe.bind(("127.0.0.1", first))
                other.bind(("127.0.0.1", first + 1_000))
            except OSError:
                continue
            return first
    pytest.fail("no port is free")


def test_a_lost_broker_is_seen_and_started_again(tmp_path: Path) -> None:
    port, log, again_log = free_port(), tmp_path / "cluster.log", tmp_path / "again.log"
    command = [sys.executable, "-m", "deploy.kafka", "--folder", str(tmp_path / "data")]
    command += ["--port", str(port), "--brokers", "3"]
    env = {
        "HOME": str(tmp_path),
        "AI_ASSISTANT_CONFIG": str(tmp_path),
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_KAFKA__BROKERS": ",".join(f"127.0.0.1:{port + n}" for n in range(3)),
        "AI_ASSISTANT_KAFKA__PARTITIONS": "2",
        "AI_ASSISTANT_KAFKA__REPLICATION": "3",
    }
    (tmp_path / "assistant.toml").touch()

    def check() -> str:
        return asked(env, "topics", "check").output

    with processes.running(command, dict(os.environ), log=log) as cluster:
        until(lambda: "Kafka" in log.read_text() and "process" in log.read_text(), what=log)
        found = re.search(r"process (\d+), (\d+), (\d+)", log.read_text())
        assert found is not None, log.read_text()
        asked(env, "topics", "create")
        until(lambda: check() == "all topics are as they must be\n", what=log)
        os.kill(int(found[2]), signal.SIGKILL)
        until(lambda: "copies in sync of partition" in check(), what=log)
        assert "touch no other broker meanwhile" in check()
        until(lambda: "to start it again: " in log.read_text(), what=log)
        told = log.read_text().partition("to start it again: ")[2].splitlines()[0]
        with processes.running(shlex.split(told), dict(os.environ), log=again_log) as only:
            until(lambda: check() == "all topics are as they must be\n", what=again_log)
            assert f"is at 127.0.0.1:{port + 1} (process" in again_log.read_text()
            only.send_signal(signal.SIGTERM)
            assert only.wait(30) == 0
        none_such = subprocess.run([*shlex.split(told)[:-1], "4"], capture_output=True, text=True)
        assert "--only 4: there are brokers 1 to 3" in none_such.stderr
        cluster.send_signal(signal.SIGTERM)
        assert cluster.wait(60) == 0
