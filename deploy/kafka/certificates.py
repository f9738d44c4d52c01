"""An authority, a server's certificate and a user's password, made for one broker's life.

They are throw-away: made anew by openssl for each secured broker, in its own folder, which only its
user can read.
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
DAYS = "30"


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
    """Make all of it in `folder`; the server's certificate is for 127.0.0.1 and localhost."""
    if shutil.which("openssl") is None:
        raise CannotStart("certificates are made by openssl, and there is none: apt-get install it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _certificate(folder, "authority", ["-extensions", "authority"])
    signed = ["-CA", str(folder / "authority.pem"), "-CAkey", str(folder / "authority.key")]
    _certificate(folder, "server", ["-extensions", "server", *signed])
    both = folder / "server-with-key.pem"
    both.touch(mode=0o600)
    parts = [(folder / name).read_text() for name in ("server.key", "server.pem", "authority.pem")]
    both.write_text("".join(parts))
    return Secrets(
        authority=folder / "authority.pem",
        server=both,
        user="assistant",
        password=secrets.token_urlsafe(18),
    )


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
