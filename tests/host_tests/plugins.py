"""An installed package with flows and skills that misbehave, as `pip install` would leave it."""

from pathlib import Path

ENTRY_POINTS = {
    "ai_assistant.flows": {
        "rogue": "tests.host_tests.rogue_plugin:Rogue",
        "gaps": "tests.host_tests.gaps_flow:Gaps",
    },
    "ai_assistant.skills": {},
}


def installed(folder: Path, **skills: str) -> Path:
    """Make the package's metadata in `folder`, which then belongs on Python's path.

    `skills`: entry points by name, such as `hangs="tests.skill_tests.rogues:Hangs"`.
    """
    info = folder / "rogues-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rogues\nVersion: 1\n")
    groups = {**ENTRY_POINTS, "ai_assistant.skills": skills}
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
