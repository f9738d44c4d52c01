"""The pseudonym key is rotated: old conversations keep their ids, new ones get the new key's."""

from pathlib import Path

import pytest

from engine.errors import Refused
from streams.embedded import data_dir
from tests.host_tests.engines import Engine, eventually
from tests.host_tests.folding import folds


async def test_after_a_rotation_old_conversations_go_on_and_new_ones_get_the_new_key(
    data: Path,
) -> None:
    async with Engine(data) as engine:
        old = await engine.say("before", to="conversation-1")
        assert old.split(":")[2] == "k1"
        await eventually(lambda: engine.lines("conversation-1"))
    first = data_dir.keys(data)
    rotated = data_dir.rotate(data / data_dir.KEYS_FILE)
    assert [key.id for key in rotated.pseudonyms] == ["k2", "k1"]
    assert rotated.pseudonyms[1] == first.pseudonyms[0]
    assert rotated.cookies == first.cookies  # nobody has to say anew who they are
    async with Engine(data) as engine:
        assert await engine.say("after", to="conversation-1") == old
        new = await engine.say("new", to="conversation-2")
        assert new.split(":")[2] == "k2"
        assert await engine.say("new again", to="conversation-2") == new
        users = [
            line.text for line in await engine.lines("conversation-1") if line.author == "user"
        ]
        assert users == ["before", "after"]
    data_dir.rotate(data / data_dir.KEYS_FILE)
    async with Engine(data) as engine:
        assert engine.session_id("conversation-1") == old
        assert engine.session_id("conversation-2") == new
        assert engine.session_id("conversation-3").split(":")[2] == "k3"
    folds(data)


def test_a_key_is_only_rotated_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the first start makes them"):
        data_dir.rotate(tmp_path / data_dir.KEYS_FILE)
    assert list(tmp_path.iterdir()) == []


def test_the_keys_are_their_owners_alone_after_a_rotation_too(tmp_path: Path) -> None:
    data_dir.keys(tmp_path)
    data_dir.rotate(tmp_path / data_dir.KEYS_FILE)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_new_keys_are_made_only_where_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "shared.json"
    made = data_dir.make(file)
    assert [key.id for key in made.pseudonyms] == ["k1"]
    assert data_dir.kept_keys(file) == made
    with pytest.raises(Refused, match="there already"):
        data_dir.make(file)
