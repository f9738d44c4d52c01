"""What `im.deliveries` says of a partition, to the one who becomes its owner.

For `streams.cluster.lane`, which writes these rows. Pure: records in.
"""

from adapters.kafka.records import Fetched
from engine.errors import InvalidRecord, Refused
from engine.ids import is_session_id
from engine.ports import Delivery
from streams import wire
from streams.topics import HOUR_MS

KEPT_MS = 48 * HOUR_MS
"""So long a receipt can be read; then it is deleted."""
CLOSED_MS = HOUR_MS
"""A frame that is so much late can still come: its reply is known to be closed."""
ORDER = "order"


class Found:
    """What `im.deliveries` says of this partition."""

    __slots__ = ("closed", "expired", "on_their_way", "watermark")

    def __init__(self) -> None:
        self.on_their_way: dict[str, tuple[int, int, Delivery]] = {}  # with their place in order
        self.closed: dict[str, Delivery] = {}  # lately
        self.expired: dict[str, None] = {}
        self.watermark = -1

    def read(self, record: Fetched, now_ms: int) -> None:
        """The next record of the partition.

        Raises InvalidRecord, of one that is then as if it were not there; Refused, where it says
        how far the orders are taken: to guess that would lose or repeat some.
        """
        if record.key == wire.WATERMARK:
            self.watermark = _watermark(record)
            return
        reply_id = wire.text_of(record.key)
        delivery = None if record.value is None else _delivery(record, reply_id)
        order = _place(record)
        for known in (self.on_their_way, self.closed, self.expired):
            known.pop(reply_id, None)
        if delivery is None:
            return
        if delivery.state in ("queued", "sending"):
            self.on_their_way[reply_id] = (order, record.offset, delivery)
        elif (delivery.receipted_ms or 0) < now_ms - KEPT_MS:
            self.expired[reply_id] = None
        elif (delivery.receipted_ms or 0) > now_ms - CLOSED_MS:
            self.closed[reply_id] = delivery


def _delivery(record: Fetched, reply_id: str) -> Delivery:
    delivery = wire.delivery_of(record.value)
    if delivery.reply_id != reply_id or not is_session_id(delivery.session_id):
        raise InvalidRecord("delivery is not of the reply that its row is of, or of no session")
    return delivery


def _place(record: Fetched) -> int:
    try:
        return int(dict(record.headers).get(ORDER, b"0"))
    except (ValueError, TypeError):
        raise InvalidRecord("the place of the delivery's order is no number") from None


def _watermark(record: Fetched) -> int:
    try:
        return wire.watermark_of(record.value).offset
    except InvalidRecord as error:
        at = f"{record.topic}:{record.partition}:{record.offset}"
        raise Refused(f"{at}: {error}; write the row anew, or restore it") from None
