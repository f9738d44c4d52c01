"""Pseudonyms: who a session belongs to cannot be read from its id, and keys can be changed."""

from hypothesis import given
from hypothesis import strategies as st

from engine.pseudonym import Key, find_session, session_id

OLD = Key(id="k1", secret=b"the first secret")
NEW = Key(id="k2", secret=b"the second secret")
people = st.lists(st.text(), min_size=1, max_size=2).map(tuple)


def _find(known: set[str], keys: tuple[Key, ...] = (NEW, OLD)) -> str:
    return find_session("web", "main", who=("c1", "ann"), keys=keys, known=known.__contains__)


@given(one=people, other=people)
def test_two_people_have_two_sessions(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    same = session_id("web", "main", who=one, key=NEW) == session_id(
        "web", "main", who=other, key=NEW
    )
    assert same == (one == other)


def test_an_id_names_channel_account_and_key_and_nobody() -> None:
    identity = session_id("web", "main", who=("c1", "ann"), key=NEW)
    assert identity.startswith("web:main:k2:")
    assert "ann" not in identity
    assert len(identity.rpartition(":")[2]) == 24


def test_the_same_person_has_another_session_on_another_channel_account_or_key() -> None:
    ids = {
        session_id(channel, account, who=("c1", "ann"), key=key)
        for channel in ("web", "terminal")
        for account in ("main", "other")
        for key in (OLD, NEW)
    }
    assert len({identity.rpartition(":")[2] for identity in ids}) == 8


def test_the_newest_key_makes_new_sessions_and_old_ones_are_found() -> None:
    old = session_id("web", "main", who=("c1", "ann"), key=OLD)
    new = session_id("web", "main", who=("c1", "ann"), key=NEW)
    assert _find(set()) == new
    assert _find({old}) == old
    assert _find({old, new}) == new
    assert _find({old}, keys=(NEW,)) == new


def test_with_one_key_nobody_is_asked_what_exists() -> None:
    def known(identity: str) -> bool:
        raise AssertionError(identity)

    assert find_session("web", "main", who=("c1",), keys=(NEW,), known=known)


def test_a_key_never_shows_its_secret() -> None:
    assert repr(NEW) == str(NEW) == "Key(id='k2')"
    assert "secret" not in f"{(NEW, OLD)}"
