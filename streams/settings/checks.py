"""What the schema's types cannot say: addresses, paths, patterns, values that fit together.

Called by `load` with the records and the `Reading` they came from, so that every problem names the
place where its value was set.
"""

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from engine.effects import FallbackStrategy
from engine.errors import Refused
from engine.fallback import ACTIONS, check_pattern
from streams.settings.schema import ImChannel, Model, Server, Skills, is_loopback
from streams.settings.table import Reading, hint, shown

_BIND = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
_FOR_LLAMA = ("path", "n_ctx", "n_threads")
_FOR_OPENAI = ("base_url", "model", "api_key")


def check_server(server: Server, reading: Reading) -> None:
    """`bind` is an address to listen on."""
    found = _BIND.fullmatch(server.bind)
    if not found or int(found[2]) > 65_535:
        form = 'host:port with a port from 0 to 65535, such as "127.0.0.1:8080" or "[::1]:8080"'
        reading.wrong("server.bind", shown(server.bind), allowed=form)


def check_model(model: Model, reading: Reading) -> Path | None:
    """What the kind of model needs is there; the model's own file, where one is set."""
    if model.kind == "openai":
        _check_base_url(model.base_url, reading)
        if not model.model:
            form = 'the name of a model that the server has, such as "qwen2.5:7b"'
            reading.wrong("model.model", shown(model.model or ""), allowed=form)
    if not model.languages:
        reading.wrong(
            "model.languages", "an empty list", allowed='at least one language, such as ["en"]'
        )
    return _model_file(model.path, reading) if model.path and model.kind == "llama" else model.path


def model_warnings(model: Model, reading: Reading) -> list[str]:
    """The keys of [model] that have no effect with the kind that is set."""
    unused = {"llama": _FOR_OPENAI, "openai": _FOR_LLAMA}.get(model.kind, _FOR_LLAMA + _FOR_OPENAI)
    return [
        f"{reading.source(key)}: has no effect: model.kind is {model.kind!r}. Remove it, or set "
        f"model.kind to {'openai' if key[6:] in _FOR_OPENAI else 'llama'!r}"
        for key in (f"model.{name}" for name in unused)
        if reading.source(key) != "default"
    ]


def _check_base_url(url: str | None, reading: Reading) -> None:
    form = 'http:// or https://, host and path, such as "http://127.0.0.1:11434/v1"'
    parts = _split(url or "")
    if parts is not None and (parts.username or parts.password or parts.query):
        # Not shown: what stands there may be a password.
        reading.wrong(
            "model.base_url", "a user, a password or a query in it", allowed="model.api_key"
        )
    elif parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        reading.wrong("model.base_url", shown(url or ""), allowed=form)


def _model_file(path: Path, reading: Reading) -> Path:
    """The one .gguf file that the path leads to."""
    key, form = "model.path", "a .gguf file, or a directory with exactly one"
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            reading.wrong(key, f"nothing at {path}", allowed=form)
            return path
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        reading.wrong(key, f"{path}, which cannot be read ({error.strerror})", allowed=form)
        return path
    models = [name for name in names if name.lower().endswith(".gguf")]
    if len(models) == 1:
        return path / models[0]
    if models:
        listed = f"the directory {path} with {len(models)} of them: {_listed(models)}"
    else:
        listed = f"the directory {path} with {_listed(names) if names else 'nothing in it'}"
    reading.wrong(key, listed, allowed=form)
    return path


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def check_skills(skills: Skills, reading: Reading) -> None:
    """Each enabled skill is named once, and has a table for its settings if it has any."""
    twice = sorted({name for name in skills.enabled if skills.enabled.count(name) > 1})
    if twice:
        reading.wrong("skills.enabled", f"{shown(twice[0])} twice", allowed="each skill once")
    for name, table in msgspec.json.decode(skills.settings).items():
        if not isinstance(table, dict):
            reading.wrong(
                f"skills.settings.{name}", shown(table), allowed="a table of keys and values"
            )


def check_fallbacks(fallbacks: tuple[FallbackStrategy, ...], reading: Reading) -> None:
    """Each pattern is bounded, each action is one that a flow knows."""
    for n, strategy in enumerate(fallbacks):
        at = f"fallback_strategies[{n}]"
        if isinstance(strategy.pattern, str):
            try:
                check_pattern(strategy.pattern)
            except Refused as error:
                reading.refused(f"{at}.pattern", shown(strategy.pattern), why=str(error))
        if isinstance(strategy.action, str) and strategy.action not in ACTIONS:
            known = ", ".join(ACTIONS) + hint(strategy.action, ACTIONS)
            reading.wrong(f"{at}.action", shown(strategy.action), allowed=known)


def check_channel(name: str, channel: ImChannel, *, reading: Reading) -> str | None:
    """Judge one entry of `channels`; a warning where its keys are still the example's."""
    key = f"channels.{name}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        form = "a name: a letter, then up to 63 letters, digits, _ or -"
        reading.wrong(key, shown(name), allowed=form)
    if channel.endpoint is not None:
        _check_endpoint(channel.endpoint, f"{key}.endpoint", reading)
    if not channel.enabled:
        return None
    unset = [
        f"{key}.{field}"
        for field, secret in (("app_key", channel.app_key), ("app_secret", channel.app_secret))
        if secret is None or secret.is_placeholder
    ]
    if unset:
        return (
            f"{reading.file}: {key} stays off: {' and '.join(unset)} still to be filled in. Put in "
            'the real value (better "${ENV_NAME}" or "file:/path"), or set "enabled": false'
        )
    reading.wrong(
        key,
        f'an enabled channel of kind "{channel.kind}"',
        allowed=f'"enabled": false, since {channel.kind} is not in this version: use the web chat',
    )
    return None


def _check_endpoint(url: str, key: str, reading: Reading) -> None:
    form = 'wss://host/path, such as "wss://im-gateway.example.com/stream"'
    parts = _split(url)
    if parts is not None and (parts.username or parts.password):
        reading.wrong(key, "a user or password in it", allowed="app_key and app_secret")
    elif parts is None or parts.scheme not in ("wss", "ws") or not parts.hostname:
        reading.wrong(key, shown(url), allowed=form)
    elif parts.scheme == "ws" and not is_loopback(parts.hostname):
        reading.wrong(
            key, shown(url), allowed=f"{form} (ws:// only to this machine: it is not encrypted)"
        )


def _split(url: str) -> SplitResult | None:
    """An address in its parts; None where it is none."""
    if any(character.isspace() for character in url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # is looked at only now, and may be no number
    except ValueError:
        return None
    return parts
