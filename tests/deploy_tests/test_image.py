"""The image: what gets into it, what it is made from, and who runs in it.

`make image-check` carries the Dockerfile out; here it is read.
"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy_tests import known_settings
from tests.deploy_tests.image import builder, let_in, pinned, reader, runtime
from tests.tidy import sources

PROJECT = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())["project"]
SHIPPED_EXTRAS = ("kafka", "llama")


def test_the_context_is_what_the_wheel_is_made_of_and_nothing_else() -> None:
    wanted = {path for path in sources.files() if path.parts[0] in sources.packages()}
    wanted |= {Path(name) for name in ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml")}
    copied = [step.rest.split()[0] for step in builder.steps if step.word == "COPY"]
    wanted |= {Path(name) for name in copied if name != "."}
    assert let_in() == wanted


def test_secrets_data_and_models_stay_outside_wherever_they_lie() -> None:
    ignored = (sources.ROOT / ".dockerignore").read_text()
    mine = ["config/assistant.toml", "data/keys.json", ".env", ".git/HEAD"]
    mine += ["models/llama-7b", "models/llama-7b/a.gguf", "models/a.gguf"]
    assert reader.context(map(Path, mine), ignored) == []
    assert reader.context([Path("engine/__pycache__/step.cpython-311.pyc")], ignored) == []


def test_all_that_the_wheel_asks_for_is_pinned_by_a_version_that_fits() -> None:
    asked = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in SHIPPED_EXTRAS:
        asked += [Requirement(text) for text in PROJECT["optional-dependencies"][extra]]
    versions = {canonicalize_name(name): at for name, at in pinned("requirements.txt").items()}
    missing = [
        str(requirement)
        for requirement in asked
        if requirement.name != "llama-cpp-python"  # compiled, by deploy/install/llama_wheel.py
        and versions.get(canonicalize_name(requirement.name), "") not in requirement.specifier
    ]
    assert not missing, sources.report(missing, fix="make lock; not pinned, or not fittingly:")


def test_what_ships_is_pinned_by_hash_and_installed_so() -> None:
    text = (sources.ROOT / "deploy/image/requirements.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert any(
        "--require-hashes" in step.rest and "requirements.txt" in step.rest
        for step in builder.steps
        if step.word == "RUN"
    )


def test_what_builds_it_is_pinned_by_version() -> None:
    assert {"build", "hatchling", "scikit-build-core"} <= pinned("build.txt").keys()


def test_both_stages_begin_with_one_dated_debian() -> None:
    assert builder.base == runtime.base
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim", runtime.base)


def test_it_runs_as_nobody_special_with_its_own_health_check() -> None:
    user, group = map(int, runtime.last("USER").rest.split(":"))
    assert user == group >= 10_000
    assert runtime.last("ENTRYPOINT").argv()[-1] == "ai-assistant"
    assert runtime.last("CMD").argv() == ["run"]
    assert "/readyz" in runtime.last("HEALTHCHECK").argv()[-1]
    after_user = runtime.steps[runtime.steps.index(runtime.last("USER")) :]
    assert {step.word for step in after_user}.isdisjoint({"RUN", "COPY"})


def test_every_variable_that_it_sets_is_read_by_somebody() -> None:
    assert known_settings.unknown(runtime.environment()) == []
    assert known_settings.unknown(["AI_ASSISTANT_SERVER__BINDS"]) == ["AI_ASSISTANT_SERVER__BINDS"]
    assert known_settings.unknown(["AI_ASSISTANT_BIND"]) == ["AI_ASSISTANT_BIND"]


def test_an_instruction_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: ADD"):
        reader.instructions("FROM a AS b\nADD x y\n")
