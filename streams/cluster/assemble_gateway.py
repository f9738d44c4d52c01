"""Wires a process's gateway: settings in, web chat and its host out. It starts nothing."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from adapters.channels.webchat import WebChat
from adapters.kafka.appender import Appender
from streams.cluster.gateway import ClusterGateway, GatewayParts
from streams.cluster.gateway_metrics import GatewayMetrics
from streams.cluster.links import kafka_settings, shared_keys, shared_token
from streams.embedded import data_dir
from streams.ingress import Ingress
from streams.settings import Secret, Settings
from streams.version import own_version

READ_MODEL_FILE = "gateway.sqlite"


@dataclass(frozen=True, kw_only=True)
class GatewayRole:
    """A gateway that is wired and not started, and the channel that stands in front of it.

    `token`: the operators'.
    """

    gateway: ClusterGateway
    webchat: WebChat
    token: Secret


def assemble_gateway(
    settings: Settings, appender: Appender, *, registry: CollectorRegistry
) -> GatewayRole:
    """The gateway of these settings; the appender is the process's, which starts it.

    Raises: Refused with what is missing and the fix.
    """
    keys, token = shared_keys(settings), shared_token(settings)
    file = None
    if settings.kafka.read_model == "file":
        data_dir.prepare(settings.server.data_dir)
        file = settings.server.data_dir / READ_MODEL_FILE
    webchat = WebChat(settings.webchat.account, keys.cookies)
    gateway = ClusterGateway(
        GatewayParts(
            kafka=kafka_settings(settings),
            appender=appender,
            channel=webchat,
            routes=lambda known: Ingress(
                webchat.kind,
                webchat.account,
                keys=keys.pseudonyms,
                known=known,
                shows_lines=True,
            ),
            metrics=GatewayMetrics(registry, version=own_version()),
            file=file,
            flow=settings.flow.name,
        )
    )
    return GatewayRole(gateway=gateway, webchat=webchat, token=token)
