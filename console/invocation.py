"""What every command has in common: the settings it runs with, and how its errors end it.

`--config` and `--data` may stand before or after the command's name. An error of the engine's tree
becomes one line on stderr and its exit code; a wrong setting is told whole.
"""

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from console.exit_codes import ExitCode
from engine.errors import Conflict, EngineError, InvalidRecord, Refused, Unavailable
from streams.settings import Settings, WrongSettings, load

P = ParamSpec("P")

CONFIG_HELP = "Settings directory (default: $AI_ASSISTANT_CONFIG, ./config, /etc/ai-config)."
DATA_HELP = "Data directory (default: $AI_ASSISTANT_DATA, the setting server.data_dir)."


class Stopped(click.ClickException):
    """Ends the command with a line and one of the documented codes."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        setattr(self, "exit_code", int(code))  # noqa: B010 - click declares it on the class


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What was said on the command line about settings."""

    config: Path | None = None
    data: Path | None = None

    def settings(self, *, quiet: bool = True) -> Settings:
        """Load the settings; with `quiet=False` their warnings go to stderr."""
        try:
            settings = load(self.config, os.environ, data_dir=self.data)
        except Refused as error:
            raise Stopped(str(error), ExitCode.SETTINGS) from None
        if not quiet:
            for warning in settings.warnings:
                click.echo(f"warning: {warning}", err=True)
        return settings


def with_settings(command: Callable[Concatenate[Invocation, P], None]) -> Callable[P, None]:
    """Give a command `--config` and `--data`, and itself an `Invocation` first."""

    @click.option("--config", type=click.Path(path_type=Path), help=CONFIG_HELP)
    @click.option("--data", type=click.Path(path_type=Path), help=DATA_HELP)
    @click.pass_context
    @wraps(command)
    def wrapped(context: click.Context, /, *args: Any, **kwargs: Any) -> None:
        outer = context.find_object(Invocation) or Invocation()
        config, data = kwargs.pop("config"), kwargs.pop("data")
        command(Invocation(config=config or outer.config, data=data or outer.data), *args, **kwargs)

    return wrapped


def told(note: str) -> None:
    """Tell something beside the answer: on stderr, so that a script's input stays as it is."""
    click.echo(note, err=True)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def code_of(error: EngineError) -> ExitCode:
    """The exit code that a class of errors stands for."""
    codes = {
        WrongSettings: ExitCode.SETTINGS,
        Unavailable: ExitCode.UNAVAILABLE,
        InvalidRecord: ExitCode.RECORD,
        Conflict: ExitCode.IN_USE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), ExitCode.FAILED)


class Assistant(click.Group):
    """The command group that turns the engine's errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EngineError as error:
            raise Stopped(str(error), code_of(error)) from error
        except KeyboardInterrupt:
            # click would say "Aborted!" and end with 1, as if something had failed.
            click.echo(err=True)
            raise click.exceptions.Exit(int(ExitCode.INTERRUPTED)) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception:
            # A bug. Its code differs from that of an error, so that the parent of an engine
            # restarts it.
            traceback.print_exc()
            raise click.exceptions.Exit(int(ExitCode.INTERNAL)) from None
