"""Which version of this distribution runs."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """Of this distribution."""
    try:
        return version("ai-assistant")
    except PackageNotFoundError:
        return "0"
