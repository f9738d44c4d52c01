"""Renew deploy/image/requirements.txt and build.txt: `make lock`.

The image gets the versions that the tests ran with, those of .venv: what ships, with the hash of
every file that the registry has of it, for each kind of machine; what builds it, by version. uv
writes both; pip alone knows only the hash of the one file that it would take itself.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"
"""Of Debian 12, which the image is made from."""
EXTRAS = ("kafka", "llama")
COMPILED = "llama-cpp-python"
"""Published as source only: the Dockerfile compiles it, so it has no hash here."""
BUILDERS = ("build", "hatchling", "scikit-build-core")


def main() -> int:
    """Write both files anew."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    installed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        versions = Path(scratch) / "versions.txt"
        versions.write_text("".join(f"{line}\n" for line in installed.splitlines() if "==" in line))
        builders = Path(scratch) / "builders.in"
        builders.write_text("\n".join(BUILDERS))
        shipped = ["--generate-hashes", "--no-emit-package", COMPILED, str(ROOT / "pyproject.toml")]
        for extra in EXTRAS:
            shipped += ["--extra", extra]
        resolve(shipped, versions=versions, out="requirements.txt")
        resolve([str(builders)], versions=versions, out="build.txt")
    return 0


def resolve(asked: list[str], *, versions: Path, out: str) -> None:
    """Let uv write one file, with versions as installed wherever a package is installed here."""
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--native-tls"]
    style = ["--no-header", "--no-annotate", "--python-version", PYTHON]
    where = ["--python-platform", "linux", "--constraint", str(versions)]
    into = ["--output-file", str(ROOT / "deploy" / "image" / out)]
    subprocess.run([*uv, *style, *where, *into, *asked], check=True)


if __name__ == "__main__":
    sys.exit(main())
