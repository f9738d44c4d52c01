"""How much memory may a new process take, on this machine and in this container?

Place in the data path: before it. The llama.cpp runner asks before it starts a process that loads a
model, because a machine that runs out of memory kills whom it likes.

What it never does: count what only looks used. Pages of files can be given back at any time, so
they are free here, as they are for the kernel's own estimate.

Source: proc_meminfo(5), MemAvailable; the kernel's admin guide on control groups, versions 1 and 2.
"""

from pathlib import Path
from typing import NamedTuple


class Files(NamedTuple):
    """Where a control group says what it allows and uses, and which of that can be given back."""

    limit: str
    used: str
    given_back: tuple[str, str]


VERSION_1 = Files(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)
VERSION_2 = Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def available_bytes(root: Path = Path("/")) -> int:
    """Return the smaller of what the machine has and what each control group around us allows.

    Args:
        root: where `proc` and `sys` are found; another one than `/` in tests only.
    """
    return min([_machine(root), *_groups(root)])


def _machine(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable: this kernel is older than 3.14")


def _groups(root: Path) -> list[int]:
    """Return what is left in each control group from ours up to the outermost one."""
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            top = root / "sys/fs/cgroup"
            files = VERSION_2
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            files = VERSION_1
        else:
            continue
        group = top / name.lstrip("/")
        # Inside a container the name may be the host's: then only the top is ours to see.
        for folder in [top, *(f for f in [group, *group.parents] if f.is_relative_to(top))]:
            left += _left(folder, files)
    return left


def _left(folder: Path, files: Files) -> list[int]:
    limit, used = _lines(folder / files.limit), _lines(folder / files.used)
    if not limit or not used or limit[0] == "max":
        return []
    given_back = sum(
        int(line.split()[1])
        for line in _lines(folder / "memory.stat")
        if line.split()[0] in files.given_back
    )
    return [max(0, int(limit[0]) - int(used[0]) + given_back)]


def _lines(path: Path) -> list[str]:
    """Return a kernel file's lines; none where it is not there or not ours to read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
