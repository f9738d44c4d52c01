"""The tests' pytest runs are a person's at a desk, wherever this suite itself runs.

Hypothesis and pytest look for a build server in the environment: there the one draws the same
examples each time and keeps no database, and the other repeats whole messages in its summary.
What a build server sees is a test of its own, which sets `CI`.
"""

import pytest

BUILD_SERVERS = (
    "CI", "BUILD_NUMBER", "TF_BUILD", "BUILDKITE", "CIRCLECI", "CIRRUS_CI", "CODEBUILD_BUILD_ID",
    "GITHUB_ACTIONS", "GITLAB_CI", "HEROKU_TEST_RUN_ID", "TEAMCITY_VERSION",
)  # fmt: skip
"""What Hypothesis (`_settings.is_in_ci`) and pytest (`assertion.util.running_on_ci`) look for."""


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in BUILD_SERVERS:
        monkeypatch.delenv(name, raising=False)
