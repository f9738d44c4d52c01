"""What the table [kafka] must be beyond its types: links that can be made, and that keep secrets.

Called by `load`, as `checks` is for the other tables. What it never does: connect to a broker;
`ai-assistant topics check` does.
"""

from pathlib import Path

from streams.settings.schema import Kafka, is_loopback
from streams.settings.table import Reading, shown

_FOR_TLS = ("ca_file", "cert_file", "key_file")


def check(kafka: Kafka, reading: Reading) -> None:
    """Note all that no client could connect with, or that would tell a password to the network."""
    for broker in kafka.brokers:
        port = int(broker.rpartition(":")[2])
        if not 1 <= port <= 65_535:
            reading.wrong("kafka.brokers", shown(broker), allowed="a port from 1 to 65535")
    if len(set(kafka.brokers)) < len(kafka.brokers):
        reading.wrong("kafka.brokers", "a broker twice", allowed="each broker once")
    for name in (*_FOR_TLS, "keys_file"):
        _check_file(getattr(kafka, name), f"kafka.{name}", reading)
    if (kafka.cert_file is None) != (kafka.key_file is None):
        missing = "cert_file" if kafka.cert_file is None else "key_file"
        reading.wrong(f"kafka.{missing}", "nothing", allowed="cert_file and key_file together")
    _check_sasl(kafka, reading)


def warnings(kafka: Kafka, reading: Reading) -> list[str]:
    """The keys of [kafka] that have no effect with the others."""
    found = []
    if kafka.security == "plaintext":
        found += [(name, "security", "tls") for name in _FOR_TLS]
    return [
        f"{reading.source(f'kafka.{name}')}: has no effect: kafka.{key} is not {needed!r}. "
        f"Remove it, or set kafka.{key} to {needed!r}"
        for name, key, needed in found
        if getattr(kafka, name)
    ]


def _check_sasl(kafka: Kafka, reading: Reading) -> None:
    if not kafka.sasl:
        # Not a warning: who gives a name and a password means them to be asked for.
        if kafka.username or kafka.password is not None:
            reading.wrong(
                "kafka.sasl", shown(""), allowed='"plain", "scram-sha-256", …, for a user'
            )
        return
    if not kafka.username:
        reading.wrong(
            "kafka.username", shown(""), allowed="the user's name, since kafka.sasl is set"
        )
    if kafka.password is None or kafka.password.is_placeholder:
        found = "nothing" if kafka.password is None else "a text to be replaced"
        reading.wrong("kafka.password", found, allowed='the user\'s password, "file:/path" for one')
    open_to = [b for b in kafka.brokers if not is_loopback(b.rpartition(":")[0].strip("[]"))]
    if kafka.sasl == "plain" and kafka.security == "plaintext" and open_to:
        form = 'another, or kafka.security = "tls": this one sends the password as it is'
        reading.wrong("kafka.sasl", shown(kafka.sasl), allowed=form)


def _check_file(path: Path | None, key: str, reading: Reading) -> None:
    if path is None:
        return
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        reading.wrong(key, f"no file at {path}", allowed="a file that this process may read")
