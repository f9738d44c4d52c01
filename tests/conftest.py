"""Settings that all tests share.

Hypothesis: no deadline per example, since the test machine is shared and a slow example is no
finding; the examples of a run are drawn from the test's name, so that a red run can be repeated.
`HYPOTHESIS_PROFILE=search` draws new ones each time, and ten times as many.

Settings: a `./config` in the clone is its owner's, and no test reads it.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", deadline=None, max_examples=1_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty settings directory, for all that does not name its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AI_ASSISTANT_CONFIG", str(tmp_path_factory.mktemp("no-settings")))
        yield
