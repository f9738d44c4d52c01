"""From the settings' table [kafka] to what the clients of a process take: in one place."""

from adapters.kafka.clients import KafkaSettings
from engine.errors import Refused
from streams.embedded import data_dir
from streams.settings import Secret, Settings


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How the brokers are reached. Raises Refused where none are set."""
    kafka = settings.kafka
    if not kafka.brokers:
        raise Refused("no brokers are set: AI_ASSISTANT_KAFKA__BROKERS=host:port, or kafka.brokers")
    return KafkaSettings(
        brokers=",".join(kafka.brokers),
        prefix=kafka.prefix,
        security=kafka.security,
        ca_file=kafka.ca_file,
        cert_file=kafka.cert_file,
        key_file=kafka.key_file,
        sasl=kafka.sasl,
        username=kafka.username,
        password=kafka.password.reveal() if kafka.password is not None else "",
        session_timeout_ms=round(kafka.session_timeout_s * 1_000),
    )


def shared_keys(settings: Settings) -> data_dir.Keys:
    """The keys that all processes share which take messages in.

    Raises: Refused where there are none: each with keys of its own, a person who comes to another
    process would be another person there.
    """
    if settings.kafka.keys_file is None:
        raise Refused(
            "on a cluster, set kafka.keys_file, the same keys for all that take messages in: "
            "`ai-assistant keys create FILE` makes them"
        )
    return data_dir.kept_keys(settings.kafka.keys_file)


def shared_token(settings: Settings) -> Secret:
    """The operators' token. Raises Refused where none is set: each process would have its own."""
    if settings.operators.token is None:
        raise Refused(
            "on a cluster, set operators.token, the same for all that take messages in: "
            "AI_ASSISTANT_OPERATORS__TOKEN=file:/run/secrets/operator"
        )
    return settings.operators.token
