"""Reads all settings, once, at start: files, then environment, then what the command line says.

What it never does: keep going with a wrong setting. It collects all problems of both files and of
the environment, and refuses with all of them at once.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from engine.effects import FallbackStrategy
from engine.errors import Refused
from models.fetch import FILE_NAME
from streams.settings import checks, environment, files, installed, kafka_checks
from streams.settings.schema import (
    Account,
    Engine,
    FlowSettings,
    ImChannel,
    Kafka,
    Model,
    Operators,
    Origin,
    Section,
    Server,
    Settings,
    Skills,
    WebChat,
)
from streams.settings.table import Reading, joined
from streams.settings.wrong import WrongSettings


class _AssistantFile(Section, frozen=True):
    """The sections of assistant.toml, in the order in which they are shown."""

    server: Server = Server()
    engine: Engine = Engine()
    flow: FlowSettings = FlowSettings()
    model: Model = Model()
    webchat: WebChat = WebChat()
    skills: Skills = Skills()
    operators: Operators = Operators()
    kafka: Kafka = Kafka()


class _ImAdapterFile(Section, frozen=True):
    """The keys of im_adapter.json."""

    channels: Mapping[str, ImChannel] = MappingProxyType({})
    fallback_strategies: tuple[FallbackStrategy, ...] = ()


def load(
    config_dir: Path | None, env: Mapping[str, str], *, data_dir: Path | None = None
) -> Settings:
    """All settings, checked, each with its origin.

    Args:
        config_dir: `--config`; None: as the package's docstring says.
        env: the process's environment.
        data_dir: `--data`, which wins over everything else.

    Raises:
        WrongSettings: one line for each thing that is wrong: file, key, what was found, what is
            allowed.
    """
    directory = files.find_directory(config_dir, env)
    problems: list[str] = []
    assistant_raw = _read(directory, files.ASSISTANT, problems)
    adapter_raw = _read(directory, files.IM_ADAPTER, problems)
    assistant = Reading(
        directory / files.ASSISTANT if directory else None,
        env=env,
        variables=environment.read(env),
        defaults={"server.data_dir": default_data_dir(env)},
    )
    adapter = Reading(directory / files.IM_ADAPTER if directory else None, env=env)
    sections = _sections(assistant_raw, assistant)
    accounts, fallbacks, warnings = _channels(adapter_raw, adapter)
    problems += assistant.all_problems() + adapter.all_problems(off=_off(adapter_raw))
    if problems:
        problems += installed.skill_problems(sections.skills)
        problems += installed.flow_problems(
            sections.flow, file=assistant.file, origins=assistant.origins
        )
        raise WrongSettings(joined(problems))
    origins = assistant.origins + adapter.origins
    server = sections.server
    if data_dir is not None:
        server = msgspec.structs.replace(server, data_dir=data_dir)
        origins = [o for o in origins if o.key != "server.data_dir"]
        origins.append(Origin(key="server.data_dir", source="--data"))
    return Settings(
        directory=directory,
        server=msgspec.structs.replace(server, data_dir=server.data_dir.absolute()),
        engine=sections.engine,
        flow=sections.flow,
        model=_with_default_model(sections.model, server.data_dir),
        webchat=sections.webchat,
        skills=sections.skills,
        operators=sections.operators,
        kafka=sections.kafka,
        accounts=accounts,
        fallbacks=fallbacks,
        origins=tuple(origins),
        warnings=(
            *_no_files(directory),
            *warnings,
            *checks.model_warnings(sections.model, assistant),
            *kafka_checks.warnings(sections.kafka, assistant),
        ),
    )


def default_data_dir(env: Mapping[str, str]) -> tuple[Path, str]:
    """Where data is kept when nobody says where, and the origin of that choice."""
    # The XDG standard says that a relative path there counts as not set.
    if env.get("XDG_DATA_HOME", "").startswith("/"):
        return Path(env["XDG_DATA_HOME"]) / "ai-assistant", "default (XDG_DATA_HOME)"
    try:
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError:
        # A container may run as a user whom its system does not know.
        return Path("/var/lib/ai-assistant"), "default (no home directory)"
    return home / ".local" / "share" / "ai-assistant", "default"


def _with_default_model(model: Model, data_dir: Path) -> Model:
    """The model of `models fetch`, where it is there and no other was asked for."""
    fetched = data_dir.absolute() / "models" / FILE_NAME
    if model.kind == "llama" and model.path is None and fetched.is_file():
        return msgspec.structs.replace(model, path=fetched)
    return model


def _no_files(directory: Path | None) -> list[str]:
    names = (files.ASSISTANT, files.IM_ADAPTER)
    if directory is None or any((directory / name).exists() for name in names):
        return []
    return [f"{directory}: neither {names[0]} nor {names[1]} is there: everything is a default"]


def _read(directory: Path | None, name: str, problems: list[str]) -> object:
    try:
        return files.read(directory / name) if directory else {}
    except Refused as error:
        problems.append(str(error))
        return {}


def _sections(raw: object, reading: Reading) -> _AssistantFile:
    sections = reading.section(_AssistantFile, raw)
    reading.left_over()
    checks.check_server(sections.server, reading)
    checks.check_skills(sections.skills, reading)
    kafka_checks.check(sections.kafka, reading)
    path = checks.check_model(sections.model, reading)
    model = msgspec.structs.replace(sections.model, path=path)
    return msgspec.structs.replace(sections, model=model)


def _channels(
    raw: object, reading: Reading
) -> tuple[tuple[Account, ...], tuple[FallbackStrategy, ...], list[str]]:
    adapter = reading.section(_ImAdapterFile, raw)
    checks.check_fallbacks(adapter.fallback_strategies, reading)
    accounts, warnings = [], []
    for name, channel in adapter.channels.items():
        warning = checks.check_channel(name, channel, reading=reading)
        if warning:
            warnings.append(warning)
            channel = msgspec.structs.replace(channel, enabled=False)
        accounts.append(Account(name=name, channel=channel))
    return tuple(accounts), adapter.fallback_strategies, warnings


def _off(raw: object) -> list[str]:
    """The channels that the file itself turns off: their secrets need not be there."""
    channels = raw.get("channels") if isinstance(raw, dict) else None
    entries = channels.items() if isinstance(channels, dict) else ()
    return [
        f"channels.{name}"
        for name, entry in entries
        if isinstance(entry, dict) and entry.get("enabled") is False
    ]
