"""`ai-assistant config`: judge the settings, and show where each value comes from."""

import json

import click
import msgspec

from console.invocation import Invocation, as_json, with_settings
from console.terminal import plain, print_json, print_table
from engine.errors import EngineError
from statemachines.assistant_config import AssistantConfig
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
    _check_flow(settings)
    where = settings.directory or "no directory: all defaults and the environment"
    click.echo(f"settings are fine ({where})")


@config.command(short_help="Show every setting, its value and where it comes from.")
@with_settings
@as_json
def show(at: Invocation, as_json: bool) -> None:
    """Show every setting with its value and where it comes from; secrets are masked."""
    settings = at.settings(quiet=as_json)
    shown = rows(settings, flow=_flow_table(settings))
    if as_json:
        print_json(shown)
        return
    print_table(
        ("KEY", "VALUE", "FROM"),
        [(row.key, plain(_value(row.value)), plain(row.origin)) for row in shown],
    )


def _check_flow(settings: Settings) -> None:
    """Build the flow as `run` does: only the machine knows which skills are installed, and only
    the flow its keys, and what goes with what."""
    from streams.parts import configured_flow

    configured_flow(settings)


SHARED = ("skills", "fallback_strategies", "max_tokens")


def _flow_table(settings: Settings) -> dict[str, object] | None:
    """The flow's own settings with their defaults; None where they are wrong: `check` says how.

    An empty text is shown as what is said in its place. What comes from elsewhere in the settings
    (the skills, the fallback strategies, max_tokens) is shown there.
    """
    from statemachines import registry

    try:
        config = msgspec.json.decode(
            settings.flow.config, type=registry.find(settings.flow.name).Config
        )
    except (EngineError, msgspec.ValidationError):
        return None
    given = msgspec.json.decode(settings.flow.config)
    table: dict[str, object] = msgspec.to_builtins(config)
    if isinstance(config, AssistantConfig):
        table["texts"] = {name: config.text(name) for name in type(config.texts).__struct_fields__}
    return {key: value for key, value in table.items() if key not in SHARED or key in given}


def _value(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
