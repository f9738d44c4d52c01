"""Carry out the Dockerfile's steps in clean Debian roots, where no container engine runs.

    python -m deploy.image.in_chroot FOLDER [--model FILE.gguf]      (as root, with debootstrap)

Each stage begins as a fresh copy of a minimal Debian of the suite that the base's tag names, and
gets the instructions in order, RUN inside the root with nothing of this machine's environment but
what tells pip how to reach its registry. With --model, the runtime is then started as its USER, on
a root that cannot be written but for /tmp and the data directory, and asked one question. It prints
seconds and sizes, and leaves the roots in FOLDER (`rm -rf` removes them; nothing stays mounted).

What it never does: change anything outside FOLDER, or take the place of `docker build` for an image
that is given to somebody.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.image import dockerfile

ROOT = Path(__file__).parents[2]
CERTIFICATES = "/run/certificates.crt"
"""Where a RUN step finds this machine's certificates: a build behind a proxy needs its own."""


def main() -> int:
    """Build all stages, then ask the runtime one question; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the roots are made")
    parser.add_argument("--model", type=Path, help="a .gguf file: ask the started image with it")
    asked = parser.parse_args()
    folder: Path = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stages = dockerfile.stages((ROOT / "Dockerfile").read_text())
    base = debian(folder, stages[0].base)
    roots: dict[str, Path] = {}
    for stage in stages:
        roots[stage.name] = folder / stage.name
        build(stage, base, roots=roots)
    runtime = stages[-1]
    say(f"base {size(base)} MB, {runtime.name} {size(roots[runtime.name])} MB")
    say(f"  of it /opt/ai-assistant {size(roots[runtime.name] / 'opt/ai-assistant')} MB")
    return ask(runtime, folder, model=asked.model) if asked.model else 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def size(folder: Path) -> int:
    """Megabytes that a folder takes."""
    done = subprocess.run(["du", "-xsm", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def debian(folder: Path, tag: str) -> Path:
    """A minimal Debian of the suite in a tag such as debian:bookworm-20250520-slim, made once."""
    suite = re.split("[:-]", tag)[1]
    root = folder / suite
    if not (root / "etc/debian_version").exists() or not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        began = time.monotonic()
        command = ["debootstrap", "--variant=minbase", suite, str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (root / "made").touch()
        say(f"debootstrap {suite}: {time.monotonic() - began:.0f} s")
    return root


def build(stage: dockerfile.Stage, base: Path, *, roots: Mapping[str, Path]) -> None:
    """Make one stage's root from a copy of the base."""
    root = roots[stage.name]
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True)
    (root / "made").unlink()
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    env: dict[str, str] = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    where = "/"
    for step in stage.steps:
        began = time.monotonic()
        if step.word == "ENV":
            env |= step.pairs()
        elif step.word == "WORKDIR":
            where = step.rest
            (root / where.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            copy(step, root, where=where, roots=roots)
        elif step.word == "RUN":
            inside(root, ["/bin/sh", "-c", f"cd {where} && {step.rest}"], env={**registry(), **env})
        else:
            continue
        seconds = time.monotonic() - began
        say(f"{stage.name}: {seconds:5.0f} s  line {step.line}: {step.word} {step.rest[:60]}")


def copy(
    step: dockerfile.Instruction, root: Path, *, where: str, roots: Mapping[str, Path]
) -> None:
    """COPY: one folder of another stage, or files of the context."""
    *options, source, target = step.rest.split()
    if options:
        (stage,) = (option.removeprefix("--from=") for option in options)
        folders = [roots[stage] / source.lstrip("/"), root / target.lstrip("/")]
        subprocess.run(["cp", "-a", *map(str, folders)], check=True)
        return
    wanted = [path for path in context() if source == "." or path == Path(source)]
    if not wanted:
        raise SystemExit(f"line {step.line}: .dockerignore lets nothing of {source} in")
    for path in wanted:
        there = root / where.lstrip("/") / (target if source != "." else path)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, there)


def context() -> list[Path]:
    """The files that a build would send: what git knows or would know, less what is ignored."""
    listed = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    files = [Path(name) for name in sorted(set(names)) if name and (ROOT / name).is_file()]
    return dockerfile.context(files, (ROOT / ".dockerignore").read_text())


def registry() -> dict[str, str]:
    """What tells pip, inside, how this machine reaches its registry."""
    names = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy")
    passed = {name: text for name, text in os.environ.items() if name.startswith(names)}
    passed.pop("PIP_FIND_LINKS", None)
    return passed | ({"PIP_CERT": CERTIFICATES} if "PIP_CERT" in passed else {})


def inside(root: Path, command: list[str], *, env: Mapping[str, str]) -> None:
    """Run a command in a root, in namespaces of its own: what is mounted ends with it."""
    script = (
        'cd "$1"; mount --make-rprivate /; mount -t proc proc proc; mount --rbind /dev dev;'
        f'if [ -n "${{2:-}}" ]; then touch .{CERTIFICATES}; mount --bind "$2" .{CERTIFICATES}; fi;'
        'shift 2; exec chroot . "$@"'
    )
    wrapper = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ec", script, "-"]
    pairs = [f"{name}={text}" for name, text in env.items()]
    certificates = os.environ.get("PIP_CERT", "")
    subprocess.run(
        [*wrapper, str(root), certificates, "/usr/bin/env", "-i", *pairs, *command], check=True
    )


ASK = """
mount --make-rprivate /; cd {root}; mount --bind . .; cd {root}
mount --rbind /dev dev; mount -t proc proc proc; mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind {data} var/lib/ai-assistant; mount --bind {models} var/lib/ai-models
mount -o remount,bind,ro .; mount -o remount,bind,ro var/lib/ai-models; ip link set lo up
inside() {{ chroot --userspec={user} . /usr/bin/env -i {env} "$@"; }}
if touch etc/written 2>/dev/null; then echo "the root can be written"; exit 1; fi
(exec chroot --userspec={user} . /usr/bin/env -i {env} TINI_SUBREAPER=1 {command}) & started=$!
for _ in $(seq 300); do sleep 0.2; inside {check} 2>/dev/null && break; kill -0 $started; done
inside {check}
inside ai-assistant chat --once "What is the capital of France?"
kill -TERM $started; wait $started
"""
"""The container's conditions: a root that cannot be written, its own processes and network."""


def ask(stage: dockerfile.Stage, folder: Path, *, model: Path) -> int:
    """Start the image as its user, read-only, ask one question, and stop it; the exit code."""
    data, models = folder / "data", folder / "models"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    user = told(stage, "USER").rest
    os.chown(data, *map(int, user.split(":")))
    (models / "llama-7b").mkdir(parents=True, exist_ok=True)
    shutil.copy(model, models / "llama-7b" / model.name)
    (models / "llama-7b" / model.name).chmod(0o644)
    env = stage.environment() | {"MODEL_PATH": "/var/lib/ai-models/llama-7b", "MAX_TOKENS": "2048"}
    script = ASK.format(
        root=folder / stage.name,
        data=data,
        models=models,
        user=user,
        env=shlex.join(f"{name}={text}" for name, text in env.items()),
        command=shlex.join(told(stage, "ENTRYPOINT").argv() + told(stage, "CMD").argv()),
        check=shlex.join(told(stage, "HEALTHCHECK").argv()),
    )
    began = time.monotonic()
    alone = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    code = subprocess.run([*alone, "bash", "-ec", script], check=False).returncode
    say(f"asked as {user}, read-only: exit {code} after {time.monotonic() - began:.0f} s")
    return code


def told(stage: dockerfile.Stage, word: str) -> dockerfile.Instruction:
    """The instruction of a stage that must be there."""
    step = stage.last(word)
    if step is None:
        raise SystemExit(f"{stage.name} has no {word}")
    return step


if __name__ == "__main__":
    sys.exit(main())
