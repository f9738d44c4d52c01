"""The composition root of a worker: settings and roles in, what performs them out.

One process has one role, or several (`all`, for a small installation); they share its appender, its
registry and its model. It decides nothing about a conversation, and starts nothing. Each role's
parts are imported where it is made: a process that was killed has to be back soon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from adapters.kafka.appender import Appender
from engine.errors import Refused
from engine.events import FlowRef
from engine.flow import Flow
from engine.ports import ModelRunner
from streams import crash_marks
from streams.cluster import ROLES
from streams.cluster.links import kafka_settings
from streams.cluster.metrics import Metrics
from streams.cluster.role import Role, Works
from streams.machine_clock import MachineClock
from streams.outbox import OUTBOX_CHANNELS
from streams.settings import Settings, load
from streams.topics import T

if TYPE_CHECKING:
    from streams.cluster.assemble_gateway import GatewayRole
    from streams.cluster.performing import Performing
    from streams.cluster.stepping import Stepping


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A worker that is wired and not started. `gateway`: that of the role ingress, if it has it."""

    roles: Sequence[Works]
    appender: Appender
    registry: CollectorRegistry
    gateway: "GatewayRole | None"


def assemble_worker(
    settings: Settings, names: Sequence[str], *, env: Mapping[str, str]
) -> Assembled:
    """Wire these roles. Raises Refused with what is wrong and the fix."""
    wiring = _Wiring(settings, env)
    asked = [name for name in ROLES if name in names and name != "ingress"]
    roles: list[Works] = [part for name in asked for part in wiring.parts(name)]
    gateway = wiring.gateway() if "ingress" in names else None
    if gateway is not None:  # it takes messages in, and so begins last
        roles.append(gateway.gateway)
    if crash_marks.VARIABLE in env:
        _mark(env[crash_marks.VARIABLE], roles)
    return Assembled(
        roles=roles,
        appender=wiring.appender,
        registry=wiring.registry,
        gateway=gateway,
    )


def _mark(path: str, roles: Sequence[Works]) -> None:
    """Let whoever kills this process know between which commits it is."""
    marks = crash_marks.CrashMarks(Path(path))
    marks.begin()
    for role in roles:
        role.at = marks.at


def stepping_of_environment(env: Mapping[str, str]) -> "Stepping":
    """The role sessions, for Faust's own command line. Raises Refused with what is wrong."""
    return _Wiring(load(None, env), env).stepping()


@lru_cache(maxsize=4)
def _flow(ref: FlowRef, config: bytes) -> Flow:
    """One for all partitions: it keeps nothing of a session; its code's digest takes a while."""
    from statemachines import registry

    return registry.build(ref, config)


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

    @cached_property
    def _metrics(self) -> Metrics:
        return Metrics(self.registry)

    @cached_property
    def _model(self) -> ModelRunner:
        """One model for all roles of the process: skills may ask it, too."""
        from streams.cluster.shared_model import SharedModel
        from streams.parts import model_runner

        return SharedModel(model_runner(self._settings))

    def parts(self, name: str) -> Sequence[Role]:
        """What makes up one of them but ingress."""
        match name:
            case "sessions":
                return [self.stepping()]
            case "model":
                # As embedded: without a recogniser its requests are answered so, at once.
                return [self._performing(T.MODEL), self._performing(T.INTENT)]
            case "skill":
                return [self._performing(T.SKILL)]
            case "egress":
                return [self._sending()]
            case "clock":
                return [self._waking()]
            case _:
                raise Refused(f"there is no role {name!r}: {', '.join(ROLES)}")

    def gateway(self) -> "GatewayRole":
        """The role ingress."""
        from streams.cluster.assemble_gateway import assemble_gateway

        return assemble_gateway(self._settings, self.appender, registry=self.registry)

    def stepping(self) -> "Stepping":
        """The role sessions: the only one that decides anything."""
        from streams.cluster.stepping import Stepping
        from streams.cluster.stepping_metrics import SteppingMetrics

        return Stepping(
            self._kafka,
            instance=self._instance,
            build=lambda body: _flow(body.flow, bytes(body.config)),
            outbox=OUTBOX_CHANNELS,
            metrics=SteppingMetrics(self.registry),
            batch_max=self._settings.engine.batch_events_max,
        )

    def _performing(self, topic: T) -> "Performing":
        from streams.cluster.performing import Links, Performing
        from streams.parts import enabled_skills, skill_runner
        from streams.performers import Performers

        settings = self._settings
        cards = enabled_skills(settings) if topic is T.SKILL else ()
        performers = Performers(
            now_ms=self.appender.now_ms,
            attempt=1,
            calls_max=settings.model.calls_max,
            model=None if topic is T.INTENT else self._model,
            skills=skill_runner(settings, cards, model=self._model, env=self._env),
        )
        return Performing(
            topic,
            performers,
            links=Links(self._kafka, self._instance, self.appender),
            calls_max=settings.model.calls_max,
            metrics=self._metrics,
            outbox=OUTBOX_CHANNELS,
        )

    def _sending(self) -> Role:
        from streams.cluster.sending import Sending

        return Sending(
            self._kafka,
            instance=self._instance,
            appender=self.appender,
            channels=(),  # web chat needs none: its lines are durable with the step
            accounts=lambda now_ms: {},
            metrics=self._metrics,
        )

    def _waking(self) -> Role:
        from streams.cluster.waking import Waking

        return Waking(
            self._kafka, instance=self._instance, appender=self.appender, metrics=self._metrics
        )
