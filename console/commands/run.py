"""`ai-assistant run`: the engine with its web page, until it is stopped.

Two processes: this one is the parent, which restarts the engine when it dies; the engine is the
same command with the hidden `--engine`.
"""

import asyncio
import os
import sys
from pathlib import Path

import click

from console.exit_codes import ExitCode
from console.invocation import Invocation, told, with_settings
from streams.settings import Settings


@click.command()
@with_settings
@click.option("--engine", is_flag=True, hidden=True, help="Be the engine itself, not its parent.")
def run(at: Invocation, engine: bool) -> None:
    """Start the assistant; stop it with Ctrl-C.

    The chat page is at the setting server.bind, by default http://127.0.0.1:8080. A process that
    dies is restarted; what was acknowledged is never lost. Where the disk is full, it tries for two
    minutes to start, and then ends with 4.
    """
    settings = at.settings(quiet=engine)
    if settings.on_cluster and not engine:
        told(
            "kafka.brokers is set, and has no effect here: `run` keeps its log in a file, "
            "`ai-assistant worker` works on the cluster"
        )
    code = _be_engine(settings) if engine else _be_parent(at, settings)
    click.get_current_context().exit(code)


def _be_engine(settings: Settings) -> int:
    from console.listening import log_to_stderr
    from console.serving import serve

    log_to_stderr()
    return asyncio.run(serve(settings, os.environ, say=click.echo, watched=True))


def _be_parent(at: Invocation, settings: Settings) -> int:
    from streams.embedded import data_dir
    from streams.embedded.parent import Parent

    code = Parent(
        command=_engine_command(at),
        guard=settings.server.data_dir / data_dir.GUARD_FILE,
        drain_s=settings.server.drain_s,
        say=lambda line: click.echo(line, err=True),
    ).run()
    return code if code in set(ExitCode) else int(ExitCode.INTERNAL)


def _engine_command(at: Invocation) -> list[str]:
    # -P: a folder called like one of our packages in the working directory is not imported.
    command = [sys.executable, "-P", "-m", "console.main", "run", "--engine"]
    places: tuple[tuple[str, Path | None], ...] = (("--config", at.config), ("--data", at.data))
    for option, place in places:
        if place is not None:
            command += [option, str(place)]
    return command
