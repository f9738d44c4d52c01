"""The instants at which a host may die, named at the places where hosts commit.

The crash test kills the process at random and sorts its kills into these; the simulator crashes at
each of them on purpose. Both hosts and the test kit use this one enum.
"""

from enum import StrEnum


class CrashPoint(StrEnum):
    """In the order in which one message passes them."""

    BEFORE_APPEND = "before append"  # taken from the channel, not yet in the log
    APPEND_ACK = "append-ack"  # in the log, the platform not yet told
    STEP_COMMIT = "step-commit"  # stepped in memory, nothing of it durable
    COMMIT_PERFORM = "commit-perform"  # decided and durable, its effects not yet performed
    OUTCOME_APPEND = "outcome-append"  # a runner is done, its outcome not yet in the log
    MARK_CALL = "mark-call"  # marked `sending`, the platform not yet called
    CALL_RECEIPT = "call-receipt"  # the platform took it, the receipt not yet durable
