"""What `doctor` looks at: each check is a function that returns a finding and never raises.

Reads the machine and the settings; what it never does: change anything (the data directory is made
by `run`), or load a model.
"""

import asyncio
import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from console.shadowing import shadowed
from engine.errors import EngineError, Refused
from streams.settings import Settings, load

FREE_BYTES_MIN = 200 * 10**6
"""The default model, and a log for some 15 000 turns."""

CLOCK_MIN_S = 1_767_225_600
"""2026-01-01: a clock before that was never set."""

PYTHON_MIN = (3, 11)

SERVER_WITHIN_S = 5.0


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was looked at, what was found, and the fix where one is needed."""

    what: str
    verdict: Verdict
    found: str
    fix: str = ""


def check_all(
    config_dir: Path | None, env: Mapping[str, str], *, data_dir: Path | None = None
) -> list[Finding]:
    """All findings, in the order in which a person would fix them."""
    findings = [check_python(), check_packages(), check_clock()]
    try:
        settings = load(config_dir, env, data_dir=data_dir)
    except Refused as error:
        fix = "correct them; `ai-assistant config show` lists every setting once they load"
        return [*findings, _fail("settings", str(error), fix)]
    findings.append(_ok("settings", str(settings.directory or "defaults and environment")))
    findings += [_warn("settings", warning, "") for warning in settings.warnings]
    findings += [check_data_dir(settings.server.data_dir), check_port(settings)]
    findings += check_kafka(settings)
    return [*findings, *check_model(settings), check_skills(settings)]


def check_python() -> Finding:
    """3.11 or newer."""
    found = ".".join(map(str, sys.version_info[:3]))
    if tuple(sys.version_info[:2]) < PYTHON_MIN:
        return _fail("Python", found, "install Python 3.11 or newer")
    return _ok("Python", f"{found} in {sys.prefix}")


def check_packages() -> Finding:
    """Our packages are the ones that Python finds."""
    complaint = shadowed()
    if complaint:
        return _fail("packages", complaint, "use a virtual environment of its own")
    return _ok("packages", "none is shadowed by another installation")


def check_clock() -> Finding:
    """The clock was set once, and does not stand."""
    before_s = time.time()
    if before_s < CLOCK_MIN_S:
        fix = "set the date, or turn time synchronisation on (timedatectl set-ntp true)"
        return _fail("clock", f"it says {time.ctime(before_s)}", fix)
    return _ok("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def check_data_dir(path: Path) -> Finding:
    """It can be written (or made), and has room."""
    there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        fix = f"let this user write to {there}, or choose another with --data or AI_ASSISTANT_DATA"
        return _fail("data directory", f"{path} cannot be written", fix)
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES_MIN:
        fix = "free some space, or choose another data directory"
        return _fail("data directory", f"{path}: only {free / 10**6:.0f} MB are free", fix)
    state = "" if there == path else " (made at the first start)"
    return _ok("data directory", f"{path}{state}, {free / 10**9:.1f} GB free")


def check_port(settings: Settings) -> Finding:
    """Nobody else listens there. That the assistant of this data directory does is fine."""
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            return _taken(settings, error.strerror or str(error))
    if not server.is_loopback:
        found = f"{server.bind} is free; other machines can connect"
        return _warn("address", found, "put a reverse proxy with TLS in front of it")
    return _ok("address", f"{server.bind} is free")


def _taken(settings: Settings, why: str) -> Finding:
    """Somebody listens there; the lock on the data directory says whether it is ours."""
    from console.chat_here import runs

    server = settings.server
    fix = "stop it, or take another: AI_ASSISTANT_SERVER__BIND=127.0.0.1:8081 (server.bind)"
    if not _is_assistant(server.host, server.port):
        return _fail("address", f"{server.bind}: {why}", fix)
    if settings.on_cluster:
        return _ok("address", f"an assistant is running at {server.bind}")
    if not runs(settings):
        found = f"{server.bind}: the assistant of another data directory is running there"
        return _fail("address", found, fix)
    return _ok("address", f"{server.bind}: the assistant is running there")


def check_kafka(settings: Settings) -> list[Finding]:
    """The brokers answer, and the topics are as they must be; nothing without a cluster.

    Copies that are not in sync are a warning: nothing is lost while no second broker goes.
    """
    if not settings.on_cluster:
        return []
    from streams.cluster import topic_table
    from streams.cluster.links import kafka_settings

    brokers = ", ".join(settings.kafka.brokers)
    try:
        there = asyncio.run(topic_table.described(kafka_settings(settings), settings.kafka))
    except EngineError as error:
        return [_fail("Kafka", f"{brokers}: {error}", "see the settings kafka.* and the brokers")]
    if found := topic_table.differences(there, settings.kafka):
        fix = "`ai-assistant topics create` makes those that are not there; correct the others"
        return [_fail("Kafka", "; ".join(map(str, found)), fix)]
    if behind := topic_table.behind(there):
        fix = "start the broker that is away, or wait until its copies have caught up"
        return [_warn("Kafka", "; ".join(map(str, behind)), fix)]
    return [_ok("Kafka", f"{brokers}, and all topics are as they must be")]


def check_model(settings: Settings) -> list[Finding]:
    """What the configured kind of model needs."""
    if settings.model.kind == "openai":
        return [_check_server(settings)]
    if settings.model.kind == "scripted":
        fix = 'set model.kind to "llama" or "openai" for real answers'
        return [_warn("model", "scripted: it repeats a script", fix)]
    return [_check_llama(), _check_file(settings)]


def check_skills(settings: Settings) -> Finding:
    """Each enabled skill is installed and can be loaded, in a process of its own."""
    from adapters.skills.registry import enabled

    try:
        cards = enabled(settings.skills.enabled)
    except Refused as error:
        return _fail("skills", str(error), "correct it, or take it out of skills.enabled")
    return _ok("skills", ", ".join(f"{card.name} {card.version}" for card in cards) or "none")


def _check_llama() -> Finding:
    if importlib.util.find_spec("llama_cpp") is None:
        fix = "pip install 'ai-assistant[llama]' (compiles for some minutes), or use a server"
        return _fail("llama.cpp", "the package llama-cpp-python is not installed", fix)
    # Asked in a child: a library built for another processor kills the process that imports it.
    import subprocess

    asked = subprocess.run(
        [sys.executable, "-c", "import llama_cpp; print(llama_cpp.__version__)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if asked.returncode != 0:
        reason = (asked.stderr.strip().splitlines() or [f"it died with {-asked.returncode}"])[-1]
        fix = "reinstall it on this machine: pip install --force-reinstall 'ai-assistant[llama]'"
        return _fail("llama.cpp", f"cannot be imported: {reason}", fix)
    return _ok("llama.cpp", f"llama-cpp-python {asked.stdout.strip()}")


def _check_file(settings: Settings) -> Finding:
    from console.commands.models import model_file
    from models.free_memory import available_bytes
    from models.gguf_header import read_header

    path = model_file(settings)
    if not path.exists() and settings.model.path is None:
        return _fail("model", f"{path} is not there", "ai-assistant models fetch")
    try:
        header = read_header(path)
    except EngineError as error:
        return _fail("model", str(error), "")
    needed = header.memory_bytes(tokens=settings.model.n_ctx * settings.model.calls_max, batch=512)
    free = available_bytes()
    found = f"{path.name} ({header.architecture}) needs {needed / 10**9:.1f} GB of memory"
    if needed > free:
        fix = "choose a smaller model, or lower model.n_ctx or model.calls_max"
        return _fail("model", f"{found}, {free / 10**9:.1f} GB are free", fix)
    return _ok("model", f"{found}, {free / 10**9:.1f} GB are free")


def _check_server(settings: Settings) -> Finding:
    import httpx

    model = settings.model
    headers = {"Authorization": f"Bearer {model.api_key.reveal()}"} if model.api_key else {}
    url = f"{str(model.base_url).rstrip('/')}/models"
    try:
        answer = httpx.get(url, headers=headers, timeout=SERVER_WITHIN_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fix = "start the server, or correct model.base_url"
        return _fail("model", f"{url} does not answer ({type(error).__name__})", fix)
    if answer.status_code in (401, 403):
        return _fail("model", f"{url} refuses the key ({answer.status_code})", "set model.api_key")
    if answer.status_code != 200:
        fix = "look at model.base_url: it usually ends with /v1"
        return _warn("model", f"{url} answers {answer.status_code}", fix)
    names = _names(answer.content)
    if names and model.model not in names:
        fix = f"set model.model to one of: {', '.join(names[:8])}"
        return _warn("model", f"the server does not list {model.model!r}", fix)
    return _ok("model", f"{model.model} at {model.base_url}")


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _names(content: bytes) -> list[str]:
    try:
        return [model.id for model in msgspec.json.decode(content, type=_Models).data]
    except msgspec.DecodeError:
        return []


def _is_assistant(host: str, port: int) -> bool:
    import httpx

    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    name = f"[{reached}]" if ":" in reached else reached
    try:
        answer = httpx.get(f"http://{name}:{port}/healthz", timeout=2.0)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and b'"status"' in answer.content


def _ok(what: str, found: str) -> Finding:
    return Finding(what=what, verdict=Verdict.OK, found=found)


def _warn(what: str, found: str, fix: str) -> Finding:
    return Finding(what=what, verdict=Verdict.WARN, found=found, fix=fix)


def _fail(what: str, found: str, fix: str) -> Finding:
    return Finding(what=what, verdict=Verdict.FAIL, found=found, fix=fix)
