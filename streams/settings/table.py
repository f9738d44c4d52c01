"""Turns raw tables and variables into records, collecting all that is wrong on the way.

Called by `load`, once for each file. The records' own types say what is allowed; what types cannot
say is in `checks`. What it never does: stop at the first error, or show what stands in a secret.
"""

import difflib
import json
import math
import types
from collections import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from engine.errors import Refused
from streams.settings.environment import Variable, name_of
from streams.settings.schema import Origin
from streams.settings.secret import Secret, resolve

S = TypeVar("S", bound=msgspec.Struct)
SHOWN_CHARS_MAX = 60


class Reading:
    """One file with the variables that win over it; what is wrong is collected on the way.

    `unresolved`: the problems with secrets that are not where they should be, by key.
    `variables`: what the environment sets, by key; those that were used are taken out, so that the
    ones left over name no setting. `file` None: there is no file, only variables and defaults.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        env: Mapping[str, str],
        variables: dict[str, list[Variable]] | None = None,
        defaults: Mapping[str, tuple[object, str]] | None = None,
    ) -> None:
        self.file = file
        self.problems: list[str] = []
        self.unresolved: dict[str, str] = {}
        self.origins: list[Origin] = []
        self._env = env
        self._variables = variables if variables is not None else {}
        self._defaults = defaults or {}

    def wrong(self, key: str, found: str, *, allowed: str) -> None:
        """Note a problem with the value of a key, wherever that value came from."""
        self.problems.append(f"{self._place(key)}: found {found}; allowed: {allowed}")

    def refused(self, key: str, found: str, *, why: str) -> None:
        """Note a problem that a check of its own explains."""
        self.problems.append(f"{self._place(key)}: found {found}: {why}")

    def all_problems(self, *, off: Iterable[str] = ()) -> list[str]:
        """All that is wrong. A secret that is not there is no problem under a key in `off`."""
        missing = [
            problem
            for key, problem in self.unresolved.items()
            if not any(key.startswith(f"{prefix}.") for prefix in off)
        ]
        return self.problems + missing

    def source(self, key: str) -> str:
        """Where the value of a key comes from, as `config show` writes it."""
        return next((o.source for o in self.origins if o.key == key), "default")

    def section(self, kind: type[S], raw: object, *, key: str = "") -> S:
        """The record of a table. Where something is wrong, a value of the default stands in."""
        table = self._table(raw, key)
        fields = msgspec.structs.fields(kind)
        self._unknown(table, [field.encode_name for field in fields], key)
        values = {}
        for field in fields:
            at = f"{key}.{field.encode_name}" if key else field.encode_name
            raw_value = table.get(field.encode_name, msgspec.NODEFAULT)
            value = self._value(field.type, raw_value, at)
            if value is msgspec.NODEFAULT:
                value = self._default(field, at, given=raw_value is not msgspec.NODEFAULT)
            values[field.name] = value
        return kind(**values)

    def left_over(self) -> None:
        """Note the variables that name no setting; call it after the last section."""
        known = [name_of(origin.key) for origin in self.origins]
        for variables in self._variables.values():
            for name, _ in variables:
                allowed = f"a variable such as {name_of('server.bind')}"
                self.problems.append(
                    f"environment: {name}: no such setting; allowed: {allowed}{hint(name, known)}"
                )

    # ---- one value ------------------------------------------------------------------------------

    def _value(self, kind: Any, raw: object, key: str) -> object:
        """The value of one key; NODEFAULT where it is not set, or wrong."""
        bare = _bare(kind)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.section(bare, {} if raw is msgspec.NODEFAULT else raw, key=key)
        if bare is msgspec.Raw:
            return self._free_table(raw, key)
        if get_origin(bare) is tuple and _is_struct(get_args(bare)[0]):
            return self._list_of_sections(get_args(bare)[0], raw, key)
        if get_origin(bare) is abc.Mapping:
            return self._named_sections(get_args(bare)[1], raw, key)
        variable = self._take_variable(key)
        if variable is not None:
            self._came_from(key, f"env {variable.name}")
            return self._convert(kind, variable.text, key, from_text=True)
        if raw is msgspec.NODEFAULT:
            return msgspec.NODEFAULT
        self._came_from(key, f"{self.file}:{key}")
        return self._convert(kind, raw, key, from_text=False)

    def _convert(self, kind: Any, raw: object, key: str, *, from_text: bool) -> object:
        bare = _bare(kind)
        if bare is Secret or bare is Path:
            return self._text_value(bare, raw, key, from_text=from_text)
        if from_text and get_origin(bare) is tuple:
            raw = _listed(str(raw))
        try:
            value = msgspec.convert(raw, kind, strict=not from_text)
        except msgspec.ValidationError:
            value = msgspec.NODEFAULT
        # TOML has nan, and every comparison with a bound lets it pass.
        if value is msgspec.NODEFAULT or (isinstance(value, float) and not math.isfinite(value)):
            self.wrong(key, shown(raw), allowed=allowed(kind))
            return msgspec.NODEFAULT
        return cast(object, value)

    def _text_value(self, kind: type, raw: object, key: str, *, from_text: bool) -> object:
        if not isinstance(raw, str) or (kind is Path and not raw):
            form = 'a text, "${ENV_NAME}" or "file:/path"' if kind is Secret else "a path"
            self.wrong(key, kind_of(raw) if kind is Secret else shown(raw), allowed=form)
            return msgspec.NODEFAULT
        # A relative path in a file starts at the file, one in the environment where we were called.
        base = Path.cwd() if from_text or self.file is None else self.file.absolute().parent
        try:
            if kind is Path:
                return base / Path(raw).expanduser()
            return resolve(raw, self._env, base=base)
        except RuntimeError as error:  # ~somebody: there is no such user
            self.refused(key, shown(raw), why=str(error))
            return msgspec.NODEFAULT
        except Refused as error:
            self.unresolved[key] = f"{self._place(key)}: {error}"
            return msgspec.NODEFAULT

    def _default(self, field: msgspec.structs.FieldInfo, key: str, *, given: bool) -> object:
        value, source = self._defaults.get(key, (field.default, "default"))
        if value is msgspec.NODEFAULT and not given:
            self.wrong(key, "nothing", allowed=allowed(field.type))
        if not isinstance(value, msgspec.Struct):
            self._came_from(key, source)
        return value

    # ---- tables and lists -----------------------------------------------------------------------

    def _table(self, raw: object, key: str) -> dict[str, object]:
        if isinstance(raw, dict):
            return raw
        self.wrong(key, shown(raw), allowed="a table of keys and values")
        return {}

    def _unknown(self, table: Iterable[str], known: list[str], key: str) -> None:
        for name in table:
            if name not in known:
                at = f"{key}.{name}" if key else name
                allowed_keys = ", ".join(known)
                self.problems.append(
                    f"{self._place(at)}: unknown key; allowed: {allowed_keys}{hint(name, known)}"
                )

    def _free_table(self, raw: object, key: str) -> object:
        """A table that somebody else checks, as JSON with sorted keys."""
        table = {} if raw is msgspec.NODEFAULT else dict(self._table(raw, key))
        self._all_came_from_the_file(table, key)
        for at in [k for k in self._variables if k.startswith(f"{key}.")]:
            variable = self._take_variable(at)
            if variable is not None:
                table[at.removeprefix(f"{key}.")] = _plain(variable.text)
                self._came_from(at, f"env {variable.name}")
        try:
            text = json.dumps(table, ensure_ascii=False, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            self.wrong(key, "a date, a time, inf, nan or broken text", allowed="what JSON has")
            return msgspec.NODEFAULT
        return msgspec.Raw(text.encode())

    def _all_came_from_the_file(self, table: Mapping[str, object], key: str) -> None:
        for name, value in table.items():
            at = f"{key}.{name}"
            self._came_from(at, f"{self.file}:{at}")
            if isinstance(value, dict):
                self._all_came_from_the_file(value, at)

    def _list_of_sections(self, kind: Any, raw: object, key: str) -> object:
        if raw is msgspec.NODEFAULT:
            return ()
        if not isinstance(raw, list):
            self.wrong(key, shown(raw), allowed="a list")
            return ()
        return tuple(self.section(kind, part, key=f"{key}[{n}]") for n, part in enumerate(raw))

    def _named_sections(self, kind: Any, raw: object, key: str) -> dict[str, object]:
        table = {} if raw is msgspec.NODEFAULT else self._table(raw, key)
        return {name: self.section(kind, part, key=f"{key}.{name}") for name, part in table.items()}

    # ---- names and origins ----------------------------------------------------------------------

    def _take_variable(self, key: str) -> Variable | None:
        variables = self._variables.pop(key, None)
        if not variables:
            return None
        if len({variable.text for variable in variables}) > 1:
            names = " and ".join(variable.name for variable in variables)
            self.problems.append(f"environment: {names} set {key} differently: keep one of them")
        return variables[0]

    def _came_from(self, key: str, source: str) -> None:
        self.origins.append(Origin(key=key, source=source))

    def _place(self, key: str) -> str:
        source = self.source(key)
        if source.startswith("env "):
            return f"environment: {source.removeprefix('env ')} ({key})"
        return f"{self.file or 'default'}: {key or 'the whole file'}"


# ---- words for a person ------------------------------------------------------------------------


def joined(problems: list[str]) -> str:
    """All problems as one text; empty where there is none."""
    if len(problems) < 2:
        return "".join(problems)
    return "\n".join([f"{len(problems)} settings are wrong:", *(f"  {p}" for p in problems)])


def hint(name: str, known: Iterable[str]) -> str:
    """A question with the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else ""


def shown(raw: object) -> str:
    """A wrong value as a person may read it in an error."""
    if isinstance(raw, dict | list):
        return kind_of(raw)
    text = json.dumps(raw, ensure_ascii=False, default=str)
    if len(text) > SHOWN_CHARS_MAX:
        text = f"{text[:SHOWN_CHARS_MAX]}… ({len(text)} characters)"
    return f"{text} ({kind_of(raw)})"


def kind_of(raw: object) -> str:
    """What kind of value it is, in the words of TOML and JSON."""
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "a text" if raw else "an empty text"),
        (dict, "a table"),
        (list, "a list"),
        (type(None), "null"),
    ]
    return next((word for kind, word in kinds if isinstance(raw, kind)), "a date or time")


def allowed(kind: Any) -> str:
    """What a type allows, in words."""
    bare = _bare(kind)
    meta = next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, msgspec.Meta)), None)
    if meta is not None and meta.description:
        return meta.description
    if get_origin(bare) is Literal:
        return ", ".join(json.dumps(choice) for choice in get_args(bare))
    if get_origin(bare) is tuple:
        return f"a list of {allowed(get_args(bare)[0])}"
    bounds = ""
    if meta is not None and meta.ge is not None:
        bounds = f" from {meta.ge:,}" + ("" if meta.le is None else f" to {meta.le:,}")
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(bare, "another kind of value") + bounds.replace(",", " ")


def _bare(kind: Any) -> Any:
    """The type without its bounds and without `| None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _bare(next(part for part in get_args(kind) if part is not type(None)))
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _listed(text: str) -> object:
    """A variable's text as a list: JSON, or parts with commas between them."""
    listed = _plain(text)
    if isinstance(listed, list):
        return listed
    return [part.strip() for part in text.split(",") if part.strip()]


def _plain(text: str) -> object:
    """A variable's text as JSON where it is JSON (2, true, ["a"]), else as it stands."""
    try:
        return json.loads(text)
    except ValueError:
        return text
