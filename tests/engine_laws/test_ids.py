"""Derived ids: equal in any process, different for different things, leading to a session."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from engine import ids

SESSION = "web:main:k1:00ff"
parts = st.lists(st.one_of(st.text(st.characters(exclude_characters="\x1f")), st.integers()))


def test_ids_are_what_they_were_when_the_first_history_was_recorded() -> None:
    message = ids.message_event_id(SESSION, "main", message_id="m1")
    effect = ids.effect_id(SESSION, message, index=0)
    assert message == f"{SESSION}/cf8fa8fbe69a40219ba3fb277acf5876"
    assert effect == f"{SESSION}/bdd0ab932390ccd9bb350082c7802f5b"
    assert ids.outcome_event_id(effect) == f"{SESSION}/85d087335f4a8c17e09751d2b4fdd1be"
    assert ids.reply_id(effect) == f"{SESSION}/fc308403a9e387d4c61617497b85623d"


@given(one=parts, other=parts)
def test_different_parts_give_different_ids(one: list[str | int], other: list[str | int]) -> None:
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (ids.derive(SESSION, "kind", *one) == ids.derive(SESSION, "kind", *other)) == same


@given(session=st.text(), what=st.text())
def test_an_id_leads_to_its_session_whatever_is_in_it(session: str, what: str) -> None:
    assert ids.session_of(ids.derive(session, "kind", what)) == session


def test_a_kind_is_a_part_of_the_id() -> None:
    assert ids.derive(SESSION, "message", "1") != ids.derive(SESSION, "effect", "1")


def test_an_id_can_be_made_of_half_a_character() -> None:
    assert ids.derive(SESSION, "message", "\ud800") != ids.derive(SESSION, "message", "\udfff")


def test_no_hash_seed_changes_an_id() -> None:
    code = "from engine import ids; print(ids.derive('s', 'message', 'a', 1))"
    out = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert out[0] == out[1] == ids.derive("s", "message", "a", 1) + "\n"
