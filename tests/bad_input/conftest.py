"""What the rows' tests share."""

from tests.host_tests.conftest import data, rogues

__all__ = ["data", "rogues"]
