"""The entry of `ai-assistant`: checks that the packages are ours, then hands over to the commands.

Nothing else of this project is imported before that check.
"""

import sys

from console.shadowing import shadowed


def main() -> None:
    """Run the command line; never returns."""
    complaint = shadowed()
    if complaint:
        print(complaint, file=sys.stderr)
        sys.exit(1)
    from console.commands import assistant

    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no Chinese characters shows question marks instead of failing.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    assistant(prog_name="ai-assistant")


if __name__ == "__main__":
    main()
