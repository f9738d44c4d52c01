"""A service of docker-compose.yml as a command, an environment and folders: what a process needs.

`as_process` runs on this machine exactly what a container would run: the image's entry point and
environment, the service's command and environment, with the container's paths led to folders of a
test. Not carried over, since a process has none: limits, users, the read-only root.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy_tests.image import runtime
from tests.tidy import sources

FILE = sources.ROOT / "docker-compose.yml"


@cache
def composed() -> dict[str, Any]:
    """The whole file, with its anchors filled in."""
    parsed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


@dataclass(frozen=True, kw_only=True)
class Process:
    """What is started: `argv` in `folder`, with `env`.

    `mounts`: a container's paths, and where they are here.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    mounts: dict[str, Path]
    folder: Path


def environment(service: dict[str, Any]) -> dict[str, str]:
    """A service's own environment, from either way of writing it."""
    given = service.get("environment", {})
    if isinstance(given, list):
        return dict(pair.split("=", 1) for pair in given)
    return {name: str(value) for name, value in given.items()}


def targets(service: dict[str, Any]) -> list[str]:
    """The container's paths that a service mounts, temporary ones too."""
    mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
    return mounted + [mount.split(":")[0] for mount in service.get("tmpfs", [])]


def as_process(name: str, folder: Path, **changed: str) -> Process:
    """A service as a process below `folder`.

    Args:
        name: the service.
        folder: gets a folder for each path that the service mounts.
        changed: environment that cannot be the container's own: addresses and ports.
    """
    service = composed()["services"][name]
    assert service["image"] == composed()["services"]["ai-core"]["image"], "another's image"
    mounts = {target: folder / target.lstrip("/").replace("/", "-") for target in targets(service)}
    for place in mounts.values():
        place.mkdir(exist_ok=True)
    entry = service.get("entrypoint", runtime.last("ENTRYPOINT").argv())
    # Behind `--` stands what tini, process 1 of a container, starts and hands its signals to.
    given = [*entry[entry.index("--") + 1 :], *service.get("command", runtime.last("CMD").argv())]
    command = [_here(word, mounts) for word in given]
    # The command beside this Python, which has what the image has installed.
    beside = Path(sys.executable).parent
    path = f"{beside}{os.pathsep}{os.environ['PATH']}"
    own = {"HOME": str(folder), "PYTHONPATH": str(sources.ROOT), "PATH": path}
    given_env = runtime.environment() | environment(service)
    env = {**_led(given_env, mounts), **own, **changed}
    program = shutil.which(command[0], path=env["PATH"])
    assert program is not None, command[0]
    home = mounts.get(runtime.last("WORKDIR").rest, folder)
    return Process(argv=(program, *command[1:]), env=env, mounts=mounts, folder=home)


def _here(word: str, mounts: dict[str, Path]) -> str:
    """A word of a command, with the container's paths in it led to where they are here."""
    paths = re.compile("|".join(re.escape(f"{target}/") for target in mounts))
    return paths.sub(lambda found: f"{mounts[found[0].rstrip('/')]}/", word)


def _led(env: dict[str, str], mounts: dict[str, Path]) -> dict[str, str]:
    """The environment with every path below a mount led to where that is here."""
    led = dict(env)
    for name, text in env.items():
        for target, place in mounts.items():
            kind = "file:" if text.startswith("file:") else ""
            path = text.removeprefix(kind)
            if path == target or path.startswith(f"{target}/"):
                led[name] = f"{kind}{place}{path.removeprefix(target)}"
    return led
