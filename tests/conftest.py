"""Settings that all tests share.

Hypothesis: no deadline per example, since the test machine is shared and a slow example is no
finding; the examples of a run are drawn from the test's name, so that a red run can be repeated.
`HYPOTHESIS_PROFILE=search` draws new ones each time, and ten times as many.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", deadline=None, max_examples=1_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
