"""`ai-assistant flow test`: generated dialogs with faults in them, until one breaks a law.

Prints how far it is, and a finding as a chat with the command that repeats it. The search itself is
`testkit.fuzz`; it needs nothing beyond what `ai-assistant` needs.
"""

import math
import os
import random
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from console.commands.flow import built
from console.exit_codes import ExitCode
from console.invocation import Invocation, as_json, with_settings
from console.terminal import plain, print_json

if TYPE_CHECKING:
    from testkit.coverage_report import FlowPart
    from testkit.fuzz import Run, Search
    from testkit.stimuli import AnyStimulus

SHAPING = ("flow.", "skills.enabled", "model.max_tokens")
"""Settings that are a part of the configured flow."""
SEEDS = 2**31
"""Where chance begins, if nobody says where: short enough to be typed again."""
TOLD_EVERY_S = 10.0
REDRAWN_EVERY_S = 0.2


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A dialog in which a law does not hold. `command` repeats it exactly."""

    law: str
    what: str
    seed: int
    stimuli: msgspec.Raw
    command: str
    dialog: tuple[str, ...]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `finding` None: every law held in every dialog."""

    flow: str
    seed: int
    dialogs: int
    messages: int
    steps: int
    seconds: float
    finding: Finding | None
    coverage: "FlowPart | None" = None


@click.command()
@click.argument("name", required=False)
@with_settings
@click.option(
    "--seconds", default=60.0, show_default=True, type=click.FloatRange(min=0), help="How long."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Where chance begins; default: another each time, which is printed.",
)
@click.option("--stimuli", help="Run this one dialog only: JSON, as a finding prints it.")
@as_json
def test(
    at: Invocation,
    name: str | None,
    seconds: float,
    seed: int | None,
    stimuli: str | None,
    as_json: bool,
) -> None:
    """Talk to the flow NAME (default: the configured one) as nobody would, and look what breaks.

    Generates dialogs of several users, with outcomes, time-outs, crashes, lost and repeated calls,
    runs them on a simulated engine, and judges each by the engine's laws. Leans towards what it has
    not seen yet. The first finding is made as short as it can be and printed with the command that
    repeats it; then it ends with 7.
    """
    from testkit.fuzz import Search
    from testkit.generate import script_of

    if math.isnan(seconds):
        raise click.BadParameter("it is no number.", param_hint="'--seconds'")
    listed = _read(stimuli) if stimuli is not None else None
    flow = built(at, name)
    if seed is None:
        seed = random.SystemRandom().randrange(SEEDS)
    search = Search(flow, script_of(flow), seed=seed)
    began_s = time.monotonic()
    if not as_json:
        click.echo(f"flow {flow.ref}, seed {seed}")
    last = _searched(search, seconds) if listed is None else _once(search, listed, seed=seed)
    finding = _finding(last, _command(at, name)) if last is not None and last.violations else None
    if as_json:
        print_json(
            Told(
                flow=str(flow.ref),
                seed=seed,
                dialogs=search.runs,
                messages=search.messages,
                steps=search.steps,
                seconds=round(time.monotonic() - began_s, 1),
                finding=finding,
                coverage=_part(search),
            )
        )
    elif last is None or finding is None:
        _print_fine(search, last if listed is not None else None)
    else:
        _print_finding(last, finding)
    if finding is not None:
        raise click.exceptions.Exit(int(ExitCode.FINDING))
    if last is None:
        raise click.exceptions.Exit(int(ExitCode.INTERRUPTED))


# ---- running -------------------------------------------------------------------------------------


def _searched(search: "Search", seconds: float) -> "Run | None":
    """Run dialogs until the time is over, at least one; or the first finding, made short.

    None where Ctrl-C came before any.
    """
    progress = Progress(search, seconds)
    try:
        while True:
            done = search.next()
            progress.tell()
            if done.violations or progress.is_over():
                break
    except KeyboardInterrupt:
        progress.end()
        click.echo("stopped", err=True)
        return None
    progress.end()
    return _reduced(search, done) if done.violations else done


def _reduced(search: "Search", found: "Run") -> "Run":
    from testkit.fuzz import reduced

    dialogs = _number(search.runs, "dialog")
    click.echo(f"found in {dialogs}; making {len(found.stimuli)} stimuli fewer …", err=True)
    try:
        return reduced(search.flow, search.script, found=found)
    except KeyboardInterrupt:
        click.echo("stopped: here it is as it was found", err=True)
        return found


def _read(stimuli: str) -> "tuple[AnyStimulus, ...]":
    from testkit.stimuli import from_json

    try:
        return from_json(stimuli)
    except msgspec.DecodeError as error:
        raise click.BadParameter(
            f"{error}. It is what a finding prints behind --stimuli.", param_hint="'--stimuli'"
        ) from None


def _once(search: "Search", stimuli: "Sequence[AnyStimulus]", *, seed: int) -> "Run":
    from testkit.fuzz import run

    done = run(search.flow, search.script, seed=seed, stimuli=stimuli)
    search.count(done)
    return done


class Progress:
    """How far a search is: one line that is written over on a terminal, else a line now and then.

    On stderr, so that what is found can be piped.
    """

    def __init__(self, search: "Search", seconds: float) -> None:
        self._search = search
        self._seconds = seconds
        self._began_s = self._told_s = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._width = 0

    def is_over(self) -> bool:
        """Whether the time is."""
        return time.monotonic() - self._began_s >= self._seconds

    def tell(self) -> None:
        """Say it, where it was not said just now."""
        now_s = time.monotonic()
        if now_s - self._told_s >= (REDRAWN_EVERY_S if self._terminal else TOLD_EVERY_S):
            self._told_s = now_s
            line = self._line(now_s)
            if self._terminal:
                click.echo(f"\r{line:<{self._width}}", nl=False, err=True)
                self._width = len(line)
            else:
                click.echo(line, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)

    def _line(self, now_s: float) -> str:
        search = self._search
        return (
            f"{now_s - self._began_s:.0f} of {self._seconds:.0f} s: "
            f"{_number(search.runs, 'dialog')}, {_number(search.messages, 'message')}, "
            f"{search.seen_percent:.1f} % of the flow seen"
        )


# ---- telling -------------------------------------------------------------------------------------


def _finding(found: "Run", command: str) -> Finding:
    from testkit.shrunk import chat
    from testkit.stimuli import to_json

    stimuli = to_json(found.stimuli)
    first = found.violations[0]
    return Finding(
        law=first.law,
        what=first.what,
        seed=found.seed,
        stimuli=msgspec.Raw(stimuli.encode()),
        command=f"{command} --seed {found.seed} --stimuli {shlex.quote(stimuli)}",
        dialog=tuple(chat(found.evidence)),
    )


def _command(at: Invocation, name: str | None) -> str:
    """The command line that builds the same flow, wherever it is typed.

    Where it is the configured one, with the settings directory, and before it what the environment
    says of it.
    """
    settings = at.settings()
    words = ["ai-assistant", "flow", "test", name or settings.flow.name]
    if words[-1] != settings.flow.name:
        return shlex.join(words)
    if settings.directory is not None:
        words += ["--config", str(settings.directory.absolute())]
    origins = (one for one in settings.origins if one.key.startswith(SHAPING))
    names = (one.source.removeprefix("env ") for one in origins if one.source.startswith("env "))
    variables = [f"{name}={shlex.quote(os.environ[name])}" for name in names if name in os.environ]
    return " ".join([*variables, shlex.join(words)])


def _print_finding(found: "Run", finding: Finding) -> None:
    click.echo(click.style(f"law {finding.law!r} does not hold: {plain(finding.what)}", bold=True))
    others = dict.fromkeys(one.law for one in found.violations if one.law != finding.law)
    if others:
        click.echo(f"nor do: {', '.join(others)}")
    from testkit.surroundings import of_seed

    around = of_seed(found.seed)
    click.echo(f"\nthe dialog, {len(found.stimuli)} stimuli on the simulator, {around}:")
    for line in finding.dialog:
        click.echo(f"  {plain(line)}")
    click.echo(f"\nto see it again:\n  {plain(finding.command)}")


def _print_fine(search: "Search", asked: "Run | None") -> None:
    """`asked`: the one dialog that was to be run; None for what a search saw."""
    from testkit import coverage_report
    from testkit.coverage import MEASURED

    if asked is not None:
        from testkit.shrunk import chat

        for line in chat(asked.evidence):
            click.echo(plain(line))
        click.echo("\nevery law holds in this dialog")
        return
    dialogs, messages = _number(search.runs, "dialog"), _number(search.messages, "message")
    click.echo(f"every law holds in {dialogs} with {messages}")
    for line in coverage_report.told(search.coverage(), named=MEASURED):
        click.echo(plain(line))


def _part(search: "Search") -> "FlowPart":
    from testkit.coverage_report import part

    return part(search.coverage())


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
