"""What a `DialogTests` may be given. Each attribute is looked at when the class is made.

A wrong one would else test something that nobody meant, or nothing: a text where a list is due is a
list of letters. It builds no flow and knows nothing of one.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import hypothesis

from statemachines.flow import Flow

SHOWN_MAX = 60
CLOSE = 0.75


def texts(**classes: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """What users say, by class; the first class, and the first text of each, is the simplest.

    Raises TypeError where a class is no list of texts, or empty, or has no name.
    """
    if wrong := _wrong_says(classes):
        raise TypeError(f"texts: {wrong}")
    return classes


def by_class(**intents: str) -> Mapping[str, str]:
    """The intent that a recogniser finds, by class of what was said. Raises TypeError."""
    if not _are_intents(intents):
        raise TypeError('by_class: an intent is a text: by_class(chat="chat")')
    return intents


def check(tests: type) -> None:
    """Raises TypeError, which names class and attribute, what was found and what is allowed."""
    _misspelt(tests)
    for name, (is_allowed, allowed) in _ALLOWED.items():
        value = getattr(tests, name)
        if not is_allowed(value):
            where = f"{tests.__qualname__}.{name}"
            raise TypeError(f"{where} is {_shown(value)}; allowed is {allowed}")


def _misspelt(tests: type) -> None:
    """Raises TypeError where a value stands under a name that is nearly one of ours."""
    for name, value in vars(tests).items():
        if name.startswith("_") or name in _ALLOWED or callable(value):
            continue
        for meant in get_close_matches(name, _ALLOWED, n=1, cutoff=CLOSE):
            where = f"{tests.__qualname__}.{name}"
            raise TypeError(f"{where}: there is no such attribute; did you mean {meant}?")


def _wrong_says(says: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with it; empty where nothing is."""
    for name, given in says.items():
        if not (_is_text(name) and name.strip()):
            return f'a class has a name: chat=["hi"]; found {_shown(name)}'
        if not isinstance(given, list | tuple) or not given:
            return f'{name} must be a list of at least one text: {name}=["hi"]'
        if not all(_is_text(text) for text in given):
            return f"{name} holds what is no text: {_shown(given)}"
    return ""


def _is_text(value: object) -> bool:
    """Whether it is a str that has a UTF-8 form: no other can be written by anybody."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(map(_is_text, value))


def _are_intents(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(_is_text(one) for pair in value.items() for one in pair)


def _is_flow(value: object) -> bool:
    return isinstance(value, Flow) or (isinstance(value, type) and issubclass(value, Flow))


def _are_flows(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_flow, value))
    return _is_flow(value)


def _are_users(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_TEXTS = 'a list of at least one text: ["ok"]'
_ALLOWED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "flow": (_are_flows, "a Flow class, an instance, or a list of at least one of these"),
    "users": (_are_users, "a whole number from 1"),
    "says": (
        lambda value: isinstance(value, Mapping) and not _wrong_says(value),
        'texts by class, each class a list of at least one text: texts(chat=["hi", "why?"])',
    ),
    "intent": (_are_intents, 'an intent by class: by_class(chat="chat")'),
    "model": (_are_texts, _TEXTS),
    "skill": (_are_texts, _TEXTS),
    "operator": (_are_texts, _TEXTS),
    "rests": (_are_names, 'a list of names of states: ["person"]'),
    "settings": (
        lambda value: value is None or isinstance(value, hypothesis.settings),
        "hypothesis.settings(…), or None",
    ),
}


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN_MAX else shown[: SHOWN_MAX - 1] + "…"
