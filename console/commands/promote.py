"""`ai-assistant promote`: from one process with its own log to a cluster, once and for all."""

import asyncio
import getpass
import time
from pathlib import Path

import click
import msgspec

from console.invocation import Invocation, as_json, with_settings
from console.terminal import print_json
from engine.errors import Refused
from streams.settings import Settings

TOLD_EVERY_S = 1.0


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What the log holds, and what was done. `requests`: asked again; by this run, if resumed."""

    log: str
    partitions: int
    events: int
    steps: int
    sessions: int
    lines: int
    dead_letters: int
    requests: int
    resumed: bool
    copied: bool
    seconds: float


@click.command(short_help="Copy the log of a stopped engine to a Kafka cluster.")
@with_settings
@click.option(
    "--dry-run", is_flag=True, help="Look at everything that could be wrong; copy nothing."
)
@as_json
def promote(at: Invocation, dry_run: bool, as_json: bool) -> None:
    """Copy the data directory's log to the topics of a new installation on Kafka (kafka.brokers).

    Every conversation goes on there as it is, with what it waits for. Before: stop the engine, make
    the topics (`ai-assistant topics create`), and start no worker. May be said again where it was
    interrupted: it goes on, and nothing is there twice. The log itself is not changed.

    \b
    Afterwards start the workers, and never again `ai-assistant run` on this data directory: both
    would answer the same people.
    """
    from adapters.logs.sqlite_export import SqliteExport
    from streams.cluster import topic_table
    from streams.cluster.links import kafka_settings
    from streams.cluster.promote import Job, Promoted, survey
    from streams.cluster.promote import promote as copy
    from streams.embedded import LOG_FILE

    settings = at.settings(quiet=False)
    kafka = kafka_settings(settings)
    directory = settings.server.data_dir
    began_s = time.monotonic()
    source = SqliteExport(directory / LOG_FILE)
    try:
        hint = _keys_hint(settings, directory)
        job = Job(
            kafka=kafka,
            partitions=settings.kafka.partitions,
            source=source,
            actor=getpass.getuser(),
            said=_Said(),
        )

        async def done() -> Promoted:
            await topic_table.require(kafka, settings.kafka)
            if dry_run:
                return Promoted(await survey(job), 0)
            return await copy(job)

        promoted = asyncio.run(done())
        counts = source.counts()
    finally:
        source.close()
    copied = Copied(
        log=str(directory / LOG_FILE),
        partitions=settings.kafka.partitions,
        events=counts.events,
        steps=counts.steps,
        sessions=counts.sessions,
        lines=counts.lines,
        dead_letters=counts.dead_letters,
        requests=promoted.requests,
        resumed=promoted.resumed,
        copied=not dry_run,
        seconds=round(time.monotonic() - began_s, 3),
    )
    _tell(copied, hint, as_json=as_json)


def _tell(copied: Copied, hint: str, *, as_json: bool) -> None:
    if as_json:
        print_json(copied)
        return
    held = (
        f"{copied.events} events of {copied.sessions} conversations, {copied.lines} lines, "
        f"{copied.dead_letters} dead letters"
    )
    if copied.copied:
        click.echo(f"copied: {held}; {copied.requests} requests are asked again")
        click.echo("now start the workers, and nothing on this data directory any more")
    else:
        what = "would go on with what was begun" if copied.resumed else "nothing stands against it"
        click.echo(f"{what}: {held}")
    if hint:
        click.echo(hint)


def _keys_hint(settings: Settings, directory: Path) -> str:
    """What is to be done about the keys. Raises Refused where the cluster's are other ones."""
    from streams.embedded import data_dir

    own = directory / data_dir.KEYS_FILE
    kept = data_dir.kept_keys(own)
    if settings.kafka.keys_file is None:
        return f"set kafka.keys_file to a copy of {own}: other keys would cut everybody off"
    shared = data_dir.kept_keys(settings.kafka.keys_file)
    if shared.cookies != kept.cookies or not set(kept.pseudonyms) <= set(shared.pseudonyms):
        raise Refused(
            f"{settings.kafka.keys_file} does not hold the keys of {own}: nobody would find their "
            "conversation again; let kafka.keys_file be a copy of that file"
        )
    return ""


class _Said:
    """Tells a person how far the copy is, a line each second at most."""

    def __init__(self) -> None:
        self._phase = ""
        self._told_s = self._began_s = time.monotonic()
        self._began_with = 0

    def __call__(self, progress: tuple[str, int, int]) -> None:
        """The next page is there."""
        phase, done, total = progress
        now_s = time.monotonic()
        if phase != self._phase:
            self._phase, self._began_s, self._began_with = phase, self._told_s, 0
        if now_s - self._told_s < TOLD_EVERY_S and done < total:
            return
        per_s = (done - self._began_with) / max(now_s - self._began_s, 1e-3)
        self._told_s = now_s
        click.echo(f"{phase}: {done} of {total}, {per_s:.0f} a second", err=True)
