"""An authority, a server's certificate and a user's password, for one secured broker or cluster.

They are throw-away: made by openssl for one broker's folder, where only its user can read them.
"""

import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.jars import CannotStart

CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
"""
SERVER = "server-with-key.pem"
DAYS = "3650"


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What a secured broker and its clients need; `authority` and `server` are PEM files."""

    authority: Path
    server: Path
    user: str
    password: str

    def __repr__(self) -> str:
        # A failing test prints its records.
        return f"Secrets(authority={self.authority}, user={self.user!r})"


def made(folder: Path) -> Secrets:
    """Make all of it in `folder`, for 127.0.0.1 and localhost; what an earlier call made is kept.

    Raises CannotStart without openssl.
    """
    kept = folder / "password"
    if not kept.exists():
        _make(folder)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(18))
    return Secrets(
        authority=folder / "authority.pem",
        server=folder / SERVER,
        user="assistant",
        password=kept.read_text(),
    )


def _make(folder: Path) -> None:
    if shutil.which("openssl") is None:
        raise CannotStart(
            "certificates are made by openssl, and there is none: apt-get install openssl"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _certificate(folder, "authority", ["-extensions", "authority"])
    signed = ["-CA", str(folder / "authority.pem"), "-CAkey", str(folder / "authority.key")]
    _certificate(folder, "server", ["-extensions", "server", *signed])
    both = folder / SERVER
    both.touch(mode=0o600)
    parts = [(folder / name).read_text() for name in ("server.key", "server.pem", "authority.pem")]
    both.write_text("".join(parts))


def _certificate(folder: Path, name: str, kind: list[str]) -> None:
    config = folder / f"{name}.cnf"
    config.write_text(CONFIG.format(name=f"test {name}"))
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-config", str(config), "-days", DAYS, *kind, *files],
        check=True,
        capture_output=True,
    )
