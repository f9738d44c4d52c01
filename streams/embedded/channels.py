"""The channels of the embedded host: what each takes in, and who shows what to whom."""

from collections.abc import Iterator, Sequence

from engine.ids import account_of
from engine.ports import Channel, Line
from streams.calls import Calls
from streams.ingress import Ingress


class Channels(Calls):
    """All channel accounts of one process: what they take in, show and call."""

    def __init__(self, channels: Sequence[tuple[Channel, Ingress]]) -> None:
        super().__init__(channel for channel, _ in channels)
        self._ingresses = [ingress for _, ingress in channels]

    def __iter__(self) -> Iterator[tuple[Channel, Ingress]]:
        return zip(self._channels.values(), self._ingresses, strict=True)

    def wrote(self, lines: Sequence[Line]) -> None:
        """These lines are durable and numbered: whoever has them open sees them."""
        by_channel: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            by_channel.setdefault(account_of(line.session_id), []).append(line)
        for key, of_channel in by_channel.items():
            if key in self._channels:
                self._channels[key].wrote(of_channel)
