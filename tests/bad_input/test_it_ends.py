"""Wrong things with which the assistant does not start: one clear line, a documented code, no harm.

Each is tried with `ai-assistant run` as a person would, on a directory that holds a conversation;
with the wrong thing put right, that conversation goes on.
"""

import asyncio
import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import pytest

from adapters.logs.sqlite_schema import SCHEMA_VERSION
from console.exit_codes import ExitCode
from streams.embedded import LOG_FILE
from streams.embedded.data_dir import KEYS_FILE
from tests.host_tests.engines import Engine
from tests.host_tests.folding import folds
from tests.host_tests.plugins import installed
from tests.host_tests.processes import COMMAND, Run, environment, impatient_parent
from tests.model_tests import tiny_gguf

AS_ANYBODY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Root may write everywhere; without these two capabilities, only where permissions say so."""

Files = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One wrong thing. `said`: found in the last lines on stderr. `make`: makes it, in the home.

    `undo`: puts it right again. `toml`: assistant.toml. `skills`: entry points of a plugin.
    """

    group: str
    wrong: str
    said: str
    code: ExitCode
    toml: str = ""
    env: dict[str, str] = field(default_factory=dict)
    make: Files = lambda home: None
    undo: Files = lambda home: None
    skills: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = COMMAND

    @property
    def name(self) -> str:
        return f"{self.group}: {self.wrong}"


def setting(wrong: str, said: str, toml: str = "", **env: str) -> Row:
    return Row(group="settings", wrong=wrong, said=said, code=ExitCode.SETTINGS, toml=toml, env=env)


def adapter(home: Path) -> None:
    (home / "im_adapter.json").write_text(
        '{"channels": {"enterprise_im": {"enabled": true, "app_key": "real", "app_secret": "real",'
        ' "endpoint": "wss://im-gateway.example.com/stream"}}}'
    )


SETTINGS = [
    setting("a key that does not exist", "server.bnid: unknown key.*bind", "[server]\nbnid = '1'"),
    setting("a text for a number", "model.n_ctx.*a text", "[model]\nn_ctx = 'big'"),
    setting("a file that is no TOML", "not TOML", "[server\nbind = 1"),
    setting("a variable that sets nothing", "AI_ASSISTANT_SERVER__BNID",
            AI_ASSISTANT_SERVER__BNID="127.0.0.1:1"),
    Row(group="settings", wrong="a channel that is not in this version",
        said="not in this version", code=ExitCode.SETTINGS, make=adapter),
    Row(group="settings", wrong="a port that is taken", said="nothing can listen at 127.0.0.1:",
        code=ExitCode.FAILED, make=lambda home: _listen(home)),
]  # fmt: skip

FLOWS = [
    Row(group="flows", wrong="one that does not exist", said="there is no flow 'asistant'",
        code=ExitCode.SETTINGS, toml="[flow]\nname = 'asistant'"),
    Row(group="flows", wrong="a key that its configuration does not have",
        said="flow.config.setle_s: unknown key.*settle_s", code=ExitCode.SETTINGS,
        toml="[flow.config]\nsetle_s = 3"),
    Row(group="flows", wrong="a number of seconds below zero",
        said="settle_s: found -3 .*a whole number from 0", code=ExitCode.SETTINGS,
        toml="[flow.config]\nsettle_s = -3"),
    Row(group="flows", wrong="a word that a setting does not have", code=ExitCode.SETTINGS,
        said='busy: found "stee" .*"queue", "merge", "interrupt", "steer"',
        toml="[flow.config]\nbusy = 'stee'"),
    Row(group="flows", wrong="a plugin's, with a cell that nobody declared",
        said="stop_requested", code=ExitCode.SETTINGS, toml="[flow]\nname = 'gaps'"),
]  # fmt: skip


def skill(wrong: str, said: str, entry: str, target: str = "") -> Row:
    return Row(
        group="skills", wrong=wrong, said=said, code=ExitCode.SETTINGS,
        env={"AI_ASSISTANT_SKILLS__ENABLED": f'["{entry}"]'},
        skills={entry: f"tests.skill_tests.rogues:{target}"} if target else {},
    )  # fmt: skip


SKILLS = [
    skill("one that is not installed", "skill wether is not installed", "wether"),
    skill("one that cannot be imported", "AttributeError", "Nowhere", "Nowhere"),
    skill("one whose metadata raises", "RaisesDescribing.*RuntimeError", "rd", "RaisesDescribing"),
    skill("one that dies when asked", "DiesDescribing.*its process died", "dd", "DiesDescribing"),
]


def model_file(wrong: str, said: str, make: Files) -> Row:
    return Row(
        group="gguf", wrong=wrong, said=said, code=ExitCode.FAILED, make=make,
        env={"AI_ASSISTANT_MODEL__KIND": "llama", "MODEL_PATH": "model.gguf"},
    )  # fmt: skip


def truncated(home: Path) -> None:
    content = tiny_gguf.write(home / "model.gguf").read_bytes()
    (home / "model.gguf").write_bytes(content[: len(content) // 2])


def too_big(home: Path) -> None:
    """Four tebibytes of weights, of which not one is on the disk."""
    path = home / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(2048)
    shape = (1 << 20, 1 << 20)
    writer.add_tensor_info("token_embd.weight", shape, np.dtype(np.float32), 4 << 40)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, (4 << 40) + (1 << 20))


GGUF = [
    model_file("one that is cut short", "is cut short", truncated),
    model_file("a page of HTML", "is no GGUF file",
               lambda home: (home / "model.gguf").write_text("<html>404</html>")),
    model_file("an empty one", "is empty", lambda home: (home / "model.gguf").touch()),
    model_file("one that is bigger than the memory", "needs about 4,19.* MiB", too_big),
    Row(group="gguf", wrong="a folder with two of them", said="2 of them: a.gguf, b.gguf",
        code=ExitCode.SETTINGS, make=lambda home: [(home / f"{n}.gguf").touch() for n in "ab"],
        env={"AI_ASSISTANT_MODEL__KIND": "llama", "MODEL_PATH": "."}),
]  # fmt: skip


def no_log(home: Path) -> None:
    """Another program's database under the log's name; the log beside it."""
    log = home / "data" / LOG_FILE
    log.rename(log.with_suffix(".kept"))
    with sqlite3.connect(log) as other:
        other.execute("create table recipe (name text)")
    other.close()


def newer(home: Path) -> None:
    with sqlite3.connect(home / "data" / LOG_FILE) as log:
        log.execute("pragma user_version = 999")
    log.close()


STORAGE = [
    Row(group="storage", wrong="a second process", said="in use by (another|this) process",
        code=ExitCode.FAILED, make=lambda home: _run_another(home),
        undo=lambda home: _stop_another(home)),
    Row(group="storage", wrong="a directory that is read-only", said="data cannot be written",
        code=ExitCode.FAILED, make=lambda home: (home / "data").chmod(0o500),
        undo=lambda home: (home / "data").chmod(0o700)),
    Row(group="storage", wrong="a log that is read-only", said="check owner and permissions",
        code=ExitCode.FAILED, make=lambda home: (home / "data" / LOG_FILE).chmod(0o400),
        undo=lambda home: (home / "data" / LOG_FILE).chmod(0o600)),
    Row(group="storage", wrong="a full disk at the start", said="is the disk full",
        code=ExitCode.UNAVAILABLE,  # after two minutes of trying again, which no test waits for
        command=("prlimit", "--fsize=4096", *impatient_parent())),
    Row(group="storage", wrong="a file in the directory's place", said="cannot be written",
        code=ExitCode.FAILED, env={"AI_ASSISTANT_DATA": "/dev/null/data"}),
    Row(group="storage", wrong="another program's database", said="a database of something else",
        code=ExitCode.FAILED, make=no_log,
        undo=lambda home: (home / "data/log.kept").rename(home / "data" / LOG_FILE)),
    Row(group="storage", wrong="a log of a newer release", said="schema version 999",
        code=ExitCode.FAILED, make=newer, undo=lambda home: _version(home, SCHEMA_VERSION)),
    Row(group="storage", wrong="a log that is damaged", said="no log file, or damaged",
        code=ExitCode.FAILED, make=lambda home: _spoil(home / "data" / LOG_FILE),
        undo=lambda home: _restore(home / "data" / LOG_FILE)),
    Row(group="storage", wrong="keys that are damaged", said="keys.json cannot be read",
        code=ExitCode.FAILED, make=lambda home: _spoil(home / "data" / KEYS_FILE),
        undo=lambda home: _restore(home / "data" / KEYS_FILE)),
]  # fmt: skip
ROWS = [*SETTINGS, *FLOWS, *SKILLS, *GGUF, *STORAGE]

# ---- what the rows do ----------------------------------------------------------------------------

_open: dict[Path, object] = {}


def _listen(home: Path) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    _open[home] = taken
    (home / "assistant.toml").write_text(f"[server]\nbind = '127.0.0.1:{taken.getsockname()[1]}'\n")


def _run_another(home: Path) -> None:
    _open[home] = Run(environment(home)).listening()


def _stop_another(home: Path) -> None:
    run = _open.pop(home)
    assert isinstance(run, Run)
    with run:
        assert run.stop() == 0


def _version(home: Path, number: int) -> None:
    with sqlite3.connect(home / "data" / LOG_FILE) as log:
        log.execute(f"pragma user_version = {number}")
    log.close()


def _spoil(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".kept"))
    path.write_bytes(b"rubbish" * 3_000)


def _restore(path: Path) -> None:
    path.with_suffix(".kept").rename(path)


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a conversation in it."""
    data = tmp_path_factory.mktemp("before") / "data"
    assert asyncio.run(asked(data, "hello")) == ["hello", "hello"]
    return data


async def asked(data: Path, text: str) -> list[str]:
    """Ask it; all that was said in the conversation."""
    async with Engine(data) as engine:
        await engine.ask(text)
        return await engine.texts()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_cannot_work_is_said_in_one_line_and_ends_with_its_code(
    row: Row, conversation: Path, tmp_path: Path
) -> None:
    shutil.copytree(conversation, tmp_path / "data")
    (tmp_path / "assistant.toml").write_text(row.toml)
    row.make(tmp_path)
    plugins = installed(tmp_path / "plugins", **row.skills)
    env = environment(tmp_path, plugins) | row.env
    if "AI_ASSISTANT_SERVER__BIND" in env and "bind" in (tmp_path / "assistant.toml").read_text():
        del env["AI_ASSISTANT_SERVER__BIND"]
    prefix = AS_ANYBODY if os.geteuid() == 0 else ()
    env["AI_ASSISTANT_DATA"] = row.env.get("AI_ASSISTANT_DATA", str(tmp_path / "data"))
    try:
        with Run(env, command=(*prefix, *row.command)) as run:
            assert run.ended() == row.code, run.said
    finally:
        row.undo(tmp_path)
        taken = _open.pop(tmp_path, None)
        if isinstance(taken, socket.socket):
            taken.close()
    assert re.search(row.said, run.said, re.DOTALL), run.said
    assert "Traceback" not in run.said
    folds(tmp_path / "data")
    said = asyncio.run(asked(tmp_path / "data", "and on"))
    assert said == ["hello", "hello", "and on", "and on"]
    folds(tmp_path / "data")
