"""Kafka's jars, fetched by Maven once on a machine, and the place of Java's archive of classes.

Both are kept outside the checkout, beside the compiled llama.cpp wheel; the next clone takes them
from there. The archive is made by `deploy.kafka.cluster`, and takes a third off every later start.

Nothing here changes the system: where Java or Maven is missing, it says what to install and ends.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "4.3.0"
JAVA_MIN = 17
MISSING = "{what}: apt-get install default-jre-headless maven"

POM = Path(__file__).with_name("pom.xml")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class CannotStart(Exception):
    """Kafka cannot be had here; the text is one line that says what to do."""


def say(line: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(f"  {line}", flush=True)


def folder(version: str) -> Path:
    """Return the cache folder of one version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ai-assistant" / "kafka" / version


def fetched(version: str = VERSION) -> Path:
    """Return the folder of the jars, after fetching them if they are not there.

    Raises CannotStart without Java, without Maven when it is needed, or when Maven fails.
    """
    java()
    jars = folder(version) / "jars"
    if jars.is_dir():
        return jars
    with only_one(folder(version)):
        if not jars.is_dir():
            _fetch(version, jars=jars)
    return jars


@contextmanager
def only_one(place: Path) -> Iterator[None]:
    """Hold the lock of a cache folder; a second process waits and finds what the first one made."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java() -> str:
    """Return the path of a Java that runs Kafka, or raise CannotStart."""
    path = shutil.which("java")
    if path is None:
        raise CannotStart(MISSING.format(what="Kafka needs Java, and there is none"))
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < JAVA_MIN:
        raise CannotStart(
            f"Kafka needs Java {JAVA_MIN} or newer; {path} is {said.splitlines()[:1]}"
        )
    return path


def _fetch(version: str, *, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotStart(MISSING.format(what="Kafka's jars are fetched by Maven; there is none"))
    say(f"Kafka {version}: fetching its jars by Maven (54 MB, once on this machine)")
    # Inside the cache, so that the finished folder arrives by a rename: nobody finds half of it.
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as scratch:
        pom = shutil.copy(POM, scratch)  # Maven writes a target folder beside it
        where = [f"-Dkafka.version={version}", f"-DoutputDirectory={scratch}/jars"]
        done = subprocess.run(
            [maven, "--batch-mode", "--quiet", "--file", pom, *where, COPY],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
            raise CannotStart(f"Maven could not fetch Kafka {version}: its words are above")
        (Path(scratch) / "jars").replace(jars)
    say(f"Kafka {version}: the jars are kept in {jars}")
