"""`ai-assistant config`: judge the settings, and show where each value comes from."""

import json

import click

from console.exit_codes import ExitCode
from console.invocation import Invocation, Stopped, as_json, with_settings
from console.terminal import plain, print_json, print_table
from streams.settings import Settings, rows


@click.group()
def config() -> None:
    """Check and show the settings.

    Settings come from two files in one directory, im_adapter.json and assistant.toml, and from the
    environment, which wins. The folder config.example of the source explains every key.
    """


@config.command()
@with_settings
def check(at: Invocation) -> None:
    """Check all settings; list everything that is wrong.

    Ends with 0 if the assistant would start with them (warnings may be told), with 3 if not.
    """
    settings = at.settings(quiet=False)
    _check_skills(settings)
    _check_flow(settings)
    where = settings.directory or "no directory: all defaults and the environment"
    click.echo(f"settings are fine ({where})")


@config.command()
@with_settings
@as_json
def show(at: Invocation, as_json: bool) -> None:
    """Show every setting with its value and where it comes from; secrets are masked."""
    shown = rows(at.settings(quiet=as_json))
    if as_json:
        print_json(shown)
        return
    print_table(
        ("KEY", "VALUE", "FROM"),
        [(row.key, plain(_value(row.value)), plain(row.origin)) for row in shown],
    )


def _check_skills(settings: Settings) -> None:
    """Only the machine knows which skills are installed."""
    from adapters.skills.registry import listed

    installed = [source.entry for source in listed()]
    for name in settings.skills.enabled:
        if name not in installed:
            raise Stopped(
                f"skills.enabled: found {name!r}, which is not installed; allowed: "
                f"{', '.join(installed)}",
                ExitCode.SETTINGS,
            )


def _check_flow(settings: Settings) -> None:
    """Build the flow as `run` does: only it knows its keys, and what goes with what."""
    from streams.embedded.assemble import configured_flow

    configured_flow(settings)


def _value(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
