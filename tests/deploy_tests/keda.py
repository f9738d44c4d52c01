"""What a ScaledObject with a Kafka trigger may hold, as a JSON schema; KEDA ships none by package.

From the reference pages of KEDA 2.13, "ScaledObject specification" and "Apache Kafka": the fields
that somebody may write, so that a misspelt one is seen. Its behaviour is autoscaling/v2's own.
"""

from typing import Any

_WORD = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER_TEXT = {"type": "string", "pattern": "^[0-9]+$"}
_TRUTH_TEXT = {"enum": ["true", "false"]}


def _only(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


_POLICY = _only(
    ["type", "value", "periodSeconds"],
    type={"enum": ["Pods", "Percent"]},
    value=_COUNT,
    periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
)
_RULES = _only(
    ["policies"],
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies={"type": "array", "items": _POLICY, "minItems": 1},
)
_KAFKA = _only(
    ["bootstrapServers", "consumerGroup", "topic"],
    bootstrapServers=_WORD,
    consumerGroup=_WORD,
    topic=_WORD,
    lagThreshold=_NUMBER_TEXT,
    activationLagThreshold=_NUMBER_TEXT,
    offsetResetPolicy={"enum": ["latest", "earliest"]},
    allowIdleConsumers=_TRUTH_TEXT,
    scaleToZeroOnInvalidOffset=_TRUTH_TEXT,
    excludePersistentLag=_TRUTH_TEXT,
    limitToPartitionsWithLag=_TRUTH_TEXT,
    partitionLimitation=_WORD,
    version=_WORD,
    sasl=_WORD,
    tls={"enum": ["enable", "disable"]},
)
_TRIGGER = _only(
    ["type", "metadata"],
    type={"const": "kafka"},
    name=_WORD,
    metadata=_KAFKA,
    authenticationRef=_only(["name"], name=_WORD, kind=_WORD),
)
_SPEC = _only(
    ["scaleTargetRef", "triggers"],
    scaleTargetRef=_only(["name"], apiVersion=_WORD, kind=_WORD, name=_WORD),
    pollingInterval=_COUNT,
    cooldownPeriod=_COUNT,
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    fallback=_only(["failureThreshold", "replicas"], failureThreshold=_COUNT, replicas=_COUNT),
    advanced=_only(
        [],
        restoreToOriginalReplicaCount={"type": "boolean"},
        horizontalPodAutoscalerConfig=_only(
            [], name=_WORD, behavior=_only([], scaleUp=_RULES, scaleDown=_RULES)
        ),
    ),
    triggers={"type": "array", "items": _TRIGGER, "minItems": 1},
)
SCALED_OBJECT = _only(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=_only(["name"], name=_WORD, labels={"type": "object"}),
    spec=_SPEC,
)
