"""The composition root of a worker: settings and roles in, what performs them out.

One process has one role, or several (`all`, for a small installation); they share its appender, its
registry and its model. It decides nothing about a conversation, and starts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.kafka.appender import Appender
from engine.errors import Refused
from engine.ports import ModelRunner
from streams.cluster.assemble_gateway import GatewayRole, assemble_gateway
from streams.cluster.links import kafka_settings
from streams.cluster.metrics import Metrics
from streams.cluster.performing import Links, Performing
from streams.cluster.role import Role
from streams.cluster.sending import Sending
from streams.cluster.shared_model import SharedModel
from streams.cluster.stepping import Stepping
from streams.cluster.stepping_metrics import SteppingMetrics
from streams.cluster.waking import Waking
from streams.embedded import crash_marks
from streams.embedded.assemble import (
    OUTBOX_CHANNELS,
    enabled_skills,
    flow_of,
    model_runner,
    skill_runner,
)
from streams.embedded.clock import MachineClock
from streams.embedded.performers import Performers
from streams.settings import Settings, load
from streams.topics import T

ROLES = ("ingress", "sessions", "model", "skill", "egress", "clock")
"""What `--role` takes; `all` is all of them."""


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A worker that is wired and not started. `gateway`: where it has the role ingress."""

    roles: Sequence[Role]
    appender: Appender
    registry: CollectorRegistry
    gateway: GatewayRole | None


def assemble_worker(
    settings: Settings, names: Sequence[str], *, env: Mapping[str, str]
) -> Assembled:
    """Wire these roles. Raises Refused with what is wrong and the fix."""
    wiring = _Wiring(settings, env)
    gateway = None
    roles: list[Role] = []
    for name in ROLES:  # in this order: whoever takes messages in is the last to be ready
        if name not in names or name == "ingress":
            continue
        roles.append(wiring.role(name))
    if "ingress" in names:
        gateway = assemble_gateway(settings, wiring.appender, registry=wiring.registry)
    if crash_marks.VARIABLE in env:
        _mark(env[crash_marks.VARIABLE], roles, gateway)
    return Assembled(
        roles=roles, appender=wiring.appender, registry=wiring.registry, gateway=gateway
    )


def _mark(path: str, roles: Sequence[Role], gateway: GatewayRole | None) -> None:
    """Let whoever kills this process know between which commits it is."""
    marks = crash_marks.CrashMarks(Path(path))
    marks.begin()
    for role in roles:
        role.at = marks.at
    if gateway is not None:
        gateway.gateway.at = marks.at


def stepping_of_environment(env: Mapping[str, str]) -> Stepping:
    """The role sessions, for Faust's own command line. Raises Refused with what is wrong."""
    return _Wiring(load(None, env), env).stepping()


class _Wiring:
    """What the roles of one process share."""

    def __init__(self, settings: Settings, env: Mapping[str, str]) -> None:
        self._settings = settings
        self._env = env
        self._kafka = kafka_settings(settings)
        self._instance = settings.kafka.instance
        self.registry = CollectorRegistry()
        self.appender = Appender(
            self._kafka, clock=MachineClock(), instance=self._instance or "unnamed"
        )
        self._metrics = Metrics(self.registry)
        self._links = Links(self._kafka, self._instance, self.appender)
        self._model: ModelRunner | None = None

    def role(self, name: str) -> Role:
        """One of them but ingress."""
        match name:
            case "sessions":
                return self.stepping()
            case "model":
                return self._performing(T.MODEL)
            case "skill":
                return self._performing(T.SKILL)
            case "egress":
                # Web chat needs none: its lines become durable with the step that orders them.
                return Sending(
                    self._kafka,
                    instance=self._instance,
                    appender=self.appender,
                    channels=(),
                    accounts=lambda now_ms: {},
                    metrics=self._metrics,
                )
            case "clock":
                return Waking(
                    self._kafka,
                    instance=self._instance,
                    appender=self.appender,
                    metrics=self._metrics,
                )
            case _:
                raise Refused(f"there is no role {name!r}: {', '.join(ROLES)}")

    def stepping(self) -> Stepping:
        """The one that decides."""
        return Stepping(
            self._kafka,
            instance=self._instance,
            build=flow_of,
            outbox=OUTBOX_CHANNELS,
            metrics=SteppingMetrics(self.registry),
            batch_max=self._settings.engine.batch_events_max,
        )

    def _performing(self, topic: T) -> Performing:
        settings = self._settings
        cards = enabled_skills(settings) if topic is T.SKILL else ()
        model = self._shared_model()
        performers = Performers(
            now_ms=self.appender.now_ms,
            attempt=1,
            calls_max=settings.model.calls_max,
            model=model,
            skills=skill_runner(settings, cards, model=model, env=self._env),
        )
        return Performing(
            topic,
            performers,
            self._links,
            calls_max=settings.model.calls_max,
            metrics=self._metrics,
            outbox=OUTBOX_CHANNELS,
        )

    def _shared_model(self) -> ModelRunner:
        """One model for all roles of the process: skills may ask it, too."""
        if self._model is None:
            self._model = SharedModel(model_runner(self._settings))
        return self._model
