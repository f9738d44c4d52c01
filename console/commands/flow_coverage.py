"""`ai-assistant flow coverage`: what of a flow users really do, and what of that no test does."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console import reads
from console.commands.flow import built
from console.invocation import Invocation, Stopped, as_json, with_settings
from console.terminal import plain, print_json
from engine import codec
from engine.errors import InvalidRecord, Refused
from engine.session import StepRecord

if TYPE_CHECKING:
    from statemachines.flow import Flow
    from testkit.coverage import Coverage

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("name", required=False)
@with_settings
@click.option("--from-log", is_flag=True, help="Measure what users did, from the data directory.")
@click.option(
    "--tests", type=READABLE, help="What tests did: a file of `pytest --flow-coverage-json=FILE`."
)
@click.option("--svg", type=FILE, help="Draw the flow there, its rows coloured by their counts.")
@as_json
def coverage(
    at: Invocation,
    name: str | None,
    from_log: bool,
    tests: Path | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Say what of the flow NAME (default: the configured one) was seen, and what never.

    With --from-log: in recorded traffic. With --tests: in tests. With both: what users do that no
    test does, most used first. Records of another configuration of the same version are counted
    where all their moves fit into this table; others are told and left out.
    """
    if not from_log and tests is None:
        raise click.UsageError("say what to measure: --from-log, --tests FILE, or both")
    flow = built(at, name)
    live = _live(at, flow) if from_log else None
    tested = _tested(tests, flow) if tests is not None else None
    measured = live if live is not None else tested
    assert measured is not None
    if svg is not None:
        _draw(svg, flow, measured)
    if as_json:
        _print_json(live, tested)
    elif live is not None and tested is not None:
        _print_untested(live, tested)
    else:
        _print(measured)
    if svg is not None:
        click.echo(f"drawn: {svg}", err=True)


# ---- what there is -------------------------------------------------------------------------------


def _live(at: Invocation, flow: "Flow") -> "Coverage":
    from testkit import coverage as counting

    unreadable = 0

    def records(log: reads.Records) -> Iterator[StepRecord]:
        nonlocal unreadable
        for row in reads.all_steps(log):
            try:
                yield codec.decode_step(row.value)
            except InvalidRecord:
                unreadable += 1

    settings = at.settings()
    if settings.on_cluster:
        raise Refused(
            "--from-log counts the steps of a data directory, not of a cluster: use --tests, or "
            "give the directory of an embedded log with --data and unset kafka.brokers"
        )
    with reads.opened(settings.server.data_dir) as log:
        found = counting.of(flow, records(log), event_of=partial(reads.event, log))
    if unreadable:
        click.echo(f"warning: {unreadable} step records cannot be read", err=True)
    return found


def _tested(file: Path, flow: "Flow") -> "Coverage":
    """The tests' coverage of this very flow; else of its version, where it was configured else."""
    from testkit import coverage_report

    try:
        found = coverage_report.read(file.read_bytes())
    except Refused as error:
        raise Stopped(f"{file}: {error}") from None
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror}") from None
    ref = str(flow.ref)
    version = ref.partition("#")[0]
    for one in found:
        if one.flow == ref:
            return one
    fitting = [one for one in found if one.flow.partition("#")[0] == version]
    if not fitting:
        names = ", ".join(one.flow for one in found) or "none"
        raise Stopped(f"{file} has no coverage of {ref}; it has: {names}")
    chosen = max(fitting, key=lambda one: coverage_report.alike(one, flow))
    click.echo(
        f"warning: the tests ran {chosen.flow}, which has another configuration or other code "
        f"than {ref}",
        err=True,
    )
    return chosen


# ---- how it is told ------------------------------------------------------------------------------


def _print(coverage: "Coverage") -> None:
    from testkit import coverage_report

    for line in coverage_report.told(coverage, crashes=any(coverage.counts("crash").values())):
        click.echo(plain(line))
    _print_others(coverage)


def _print_untested(live: "Coverage", tested: "Coverage") -> None:
    from testkit import coverage_report

    for title, one in (("users", live), ("tests", tested)):
        click.echo(f"{title:<6} {coverage_report.summary(one)}")
    entries = coverage_report.untested(live, tested)
    click.echo()
    if not entries:
        click.echo("tests do all that users do")
    for line in coverage_report.told_untested(entries):
        click.echo(plain(line))
    _print_others(live)


def _print_others(coverage: "Coverage") -> None:
    if not coverage.others:
        return
    click.echo("records of other flow refs:")
    for other in coverage.others:
        counted = "all counted" if other.counted == other.steps else f"{other.counted} counted"
        click.echo(f"  {other.flow}: {other.steps} steps, {counted}")


def _print_json(live: "Coverage | None", tested: "Coverage | None") -> None:
    from testkit import coverage_report

    both = {"live": live, "tests": tested}
    shown: dict[str, object] = {
        name: coverage_report.part(one) for name, one in both.items() if one is not None
    }
    if live is not None and tested is not None:
        shown["untested"] = coverage_report.untested(live, tested)
    print_json(shown)


def _draw(file: Path, flow: "Flow", coverage: "Coverage") -> None:
    from testkit import coverage_svg

    try:
        drawn = coverage_svg.picture(coverage_svg.sketch(flow), coverage)
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror}") from None
