"""Flow refs: what changes a digest and what does not, and how a recorded ref is built again."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engine.errors import InvalidRecord, Refused
from engine.events import FlowRef
from statemachines import data, digest, registry
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger, Texts
from statemachines.flow import FlowConfig, FlowData

ROOT = Path(__file__).parents[2]


def test_a_flow_is_found_by_name_and_by_version() -> None:
    assert registry.find("assistant") is Assistant
    assert registry.find("assistant@1") is Assistant


@pytest.mark.parametrize("name", ["asistant", "assistant@2", "assistant@x", ""])
def test_an_unknown_flow_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(Refused, match="there are: "):
        registry.find(name)


def test_a_recorded_ref_is_built_again_from_its_configuration() -> None:
    config = AssistantConfig(settle_s=3, skills=(SkillTrigger(name="s", trigger_words=("摘要",)),))
    flow = Assistant(config)
    again = registry.build(flow.ref, data.encode(config))
    assert (again.ref, again.config) == (flow.ref, config)


def test_another_configuration_is_another_ref() -> None:
    flow = Assistant()
    other = Assistant(AssistantConfig(texts=Texts(apology="Sorry!")))
    assert flow.ref != other.ref
    with pytest.raises(Refused, match="run the release that recorded it"):
        registry.build(flow.ref, data.encode(other.config))


@pytest.mark.parametrize("config", [b"{", b'{"settle": 1}', b'{"settle_s": -1}', b'{"busy": "x"}'])
def test_a_wrong_configuration_is_refused(config: bytes) -> None:
    with pytest.raises(Refused, match="configuration of flow assistant"):
        registry.build("assistant", config)


def test_comments_and_spaces_do_not_change_the_token_text() -> None:
    plain = "def f(a):\n    return f'{a} {a!r}'  \n"
    spaced = "# what it does\ndef f( a ) :\n\n      # why\n      return f'{a} {a!r}'\n"
    assert digest.token_text(plain) == digest.token_text(spaced)


@pytest.mark.parametrize("other", ["f'{a}  {a!r}'", "f'{a} {b!r}'", "'{a} {a!r}'"])
def test_code_changes_the_token_text(other: str) -> None:
    plain = "def f(a):\n    return f'{a} {a!r}'\n"
    changed = f"def f(a):\n    return {other}\n"
    assert digest.token_text(plain) != digest.token_text(changed)


def test_a_row_or_a_state_changes_the_digest() -> None:
    flow = Assistant()
    written = data.encode(flow.config)
    less = replace(flow.table, rows=flow.table.rows[:-1])
    quieter = replace(flow.table, ignore={})
    digests = {
        digest.of("statemachines.assistant", t, config=written) for t in (flow.table, less, quieter)
    }
    assert len(digests) == 3


def test_a_ref_is_the_same_in_every_process_and_under_every_hash_seed() -> None:
    code = (
        "from statemachines.assistant import Assistant\n"
        "from statemachines.leave_request import LeaveRequest\n"
        "print(Assistant().ref, LeaveRequest().ref)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


# ---- migration and data ----------------------------------------------------------------------


OLD = FlowRef(name="assistant", version=1, digest="0" * 32)


def test_a_session_goes_on_in_the_same_leaf_with_the_fields_that_fit() -> None:
    flow = Assistant()
    written = b'{"asked":["a"],"failures":"three","gone":true,"quoted":"q"}'
    state, migrated = flow.migrate(OLD, "bot.answering", data=written)
    assert state == "bot.answering"
    assert migrated == Assistant.Data(asked=("a",), quoted="q")


def test_a_session_in_a_state_that_is_gone_begins_anew() -> None:
    assert Assistant().migrate(OLD, "bot.settling", data=b"{}") == ("new", Assistant.Data())


def test_data_of_another_shape_is_an_invalid_record() -> None:
    for written in (b"{", b'{"asked": 1}', b'{"other": 1}', b"\xff"):
        with pytest.raises(InvalidRecord):
            Assistant().decode_data(written)


def test_equal_data_is_equal_bytes() -> None:
    flow = Assistant()
    one = Assistant.Data(quoted="".join(["a", "b"]))
    assert flow.encode_data(one) == flow.encode_data(flow.decode_data(flow.encode_data(one)))


def test_the_records_of_a_flow_are_frozen() -> None:
    for kind in (FlowData, FlowConfig, Assistant.Data, AssistantConfig):
        assert kind.__struct_config__.frozen
    with pytest.raises(AttributeError):
        AssistantConfig().settle_s = 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"settle": 1}', type=AssistantConfig)


# ---- plugins ---------------------------------------------------------------------------------


PLUGIN = """
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest


class Walk(LeaveRequest):
    name, version = "{name}", {version}


text = "no flow"
"""


def installed(folder: Path, *, name: str, version: int = 1, entry: str = "Walk") -> None:
    """What installing a plugin leaves behind: its module and its entry point."""
    (folder / f"{name}_plugin.py").write_text(PLUGIN.format(name=name, version=version))
    info = folder / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.PLUGINS}]\n{name} = {name}_plugin:{entry}\n"
    )


def test_a_plugins_flow_is_found_and_its_newest_version_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(tmp_path, name="walk")
    found = registry.build("walk")
    assert (found.ref.name, found.ref.version) == ("walk", 1)
    # The plugin's digest covers the flow of this package that it builds upon.
    assert found.ref.digest != registry.build("leave_request").ref.digest


def test_two_flows_of_one_name_and_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(tmp_path, name="assistant")
    with pytest.raises(Refused, match="assistant@1 is in statemachines"):
        registry.find("leave_request")


@pytest.mark.parametrize(
    ("source", "raised"),
    [
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("raise ValueError('the plugin is of another version')", "ValueError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_refused_by_name_and_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, raised: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
    installed(tmp_path, name="broken")
    (tmp_path / "broken_plugin.py").write_text(source)
    with pytest.raises(Refused) as refused:
        registry.find("assistant")
    assert str(refused.value) == (
        "the flow plugin broken = broken_plugin:Walk of package broken-plugin 1.0 cannot be "
        f"imported: it raised {raised}. Correct or uninstall that package; "
        '`python -c "import broken_plugin"` shows where it fails'
    )


def test_an_entry_that_is_no_flow_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(tmp_path, name="wrong", entry="text")
    with pytest.raises(Refused, match="no Flow class"):
        registry.find("assistant")
