"""Laws of the way to the platform: marked, called, received, shown, in order, once, not too often.

Both sides are counted: what the engine says of a reply, and what its platform and its person saw.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from engine.effects import CallModel, CloseReply, RunSkill, SendMessage, Withdraw
from engine.events import ModelReplied, SkillDone
from engine.limits import FRAMES_PER_S_MAX, MARK_TO_CALL_MAX_MS, REPLY_TEXT_BYTES_MAX
from engine.ports import Delivery
from testkit.laws.reading import ALL, SENDS, Dialog, Found, Reading
from testkit.laws.replies import ATTEMPTS_MAX
from testkit.worlds import Called, Fault, Received, Shown

NEVER = ALL
"""Beyond the watermark of any log."""
ANSWERS = (ModelReplied, SkillDone)
ANSWERED = (CallModel, RunSkill)
OPEN_REPEAT = re.compile(r"[*+]|,\}")


def mark_before_call(reading: Reading) -> Iterator[Found]:
    """A send is marked, durably, before the call (design 10; crash point mark-call)."""
    for one in reading.calls:
        if not one.marked:
            yield _at(one, f"{one.reply_id} was called for before its mark was durable")


def called_soon_after_its_mark(reading: Reading) -> Iterator[Found]:
    """A marked send is called within 2 s, or marked anew (design 10).

    Later, somebody else may have found it unknown; where repetitions are recognised, no matter.
    """
    if reading.evidence.idempotent:
        return
    last = {one.reply_id: one for one in reading.calls}
    for delivery in _deliveries(reading):
        call = last.get(delivery.reply_id)
        if call is None or delivery.sending_ms is None:
            continue
        if call.at_ms > delivery.sending_ms + MARK_TO_CALL_MAX_MS:
            late_ms = call.at_ms - delivery.sending_ms
            yield _at(call, f"{call.reply_id} was called for {late_ms} ms after its mark")


def received_once(reading: Reading) -> Iterator[Found]:
    """A reply is there once; a send is repeated only where that is recognised (law 8)."""
    received = Counter(one.reply_id for one in reading.received)
    for one in reading.received:
        if received[one.reply_id] > 1:
            yield _at(one, f"{one.reply_id} was received {received[one.reply_id]} times")
    if reading.evidence.idempotent:
        return
    took: set[str] = set()
    for call in reading.calls:
        if call.reply_id in took:
            yield _at(call, f"{call.reply_id} was sent again after the platform took it")
        if call.took:
            took.add(call.reply_id)


def received_as_ordered(reading: Reading) -> Iterator[Found]:
    """What is received was on its way, to the person of its session, with its text (design 10)."""
    deliveries = {one.reply_id: one for one in _deliveries(reading)}
    there: list[Received | Called] = [*reading.received, *reading.calls]
    for one in there:
        delivery = deliveries.get(one.reply_id)
        if delivery is None:
            yield _at(one, f"{one.reply_id} reached the platform, and is on no list")
        elif one.session_id != delivery.session_id:
            yield _at(one, f"{one.reply_id} went to the person of another session")
        elif one.text != (delivery.text or ""):
            yield _at(one, f"{one.reply_id} has another text on the platform")


def both_sides_agree(reading: Reading) -> Iterator[Found]:
    """Sent means received; failed, withdrawn and closed mean not; unknown may be (law 8).

    Only a platform that took a reply without saying so may have what is not `sent`.
    """
    received = {one.reply_id for one in reading.received}
    calls = Counter(one.reply_id for one in reading.calls)
    for one in _deliveries(reading):
        is_there = one.reply_id in received
        if one.state == "sent" and not is_there:
            yield _of(one, f"{one.reply_id} is sent, and was never received")
        if one.state in ("sent", "failed") and not calls[one.reply_id]:
            yield _of(one, f"{one.reply_id} is {one.state}, and nobody called for it")
        if is_there and one.state == "closed":
            yield _of(one, f"{one.reply_id} is closed without a text, and was received")
        repeatable = reading.evidence.idempotent
        if is_there and one.state in ("failed", "withdrawn") and not repeatable:
            yield _of(one, f"{one.reply_id} is {one.state}, and was received")
        if is_there and one.state == "withdrawn" and one.attempt == 0:
            yield _of(one, f"{one.reply_id} was withdrawn before its mark, and was received")
        if one.state == "unknown" and repeatable and one.withdrawn_ms is None:
            yield _of(one, f"{one.reply_id} is unknown where a repetition is recognised")


def unknown_for_a_reason(reading: Reading) -> Iterator[Found]:
    """Unknown is what its platform never answered, or whose owner went after its mark (law 8).

    A commit that failed is no reason: who called still hears what came of it.
    """
    unsaid = {one.reply_id for one in reading.calls if one.unsaid}
    for dialog in reading.dialogs.values():
        takeovers = reading.takeovers.get(dialog.partition.number, ())
        for one in dialog.deliveries:
            if one.state != "unknown" or one.reply_id in unsaid or one.sending_ms is None:
                continue
            if not any(at_ms >= one.sending_ms for at_ms in takeovers):
                yield _of(one, f"{one.reply_id} is unknown, and nobody died or lost its partition")


def called_again_for_a_reason(reading: Reading) -> Iterator[Found]:
    """Who was told that the platform took a reply calls for it no second time (law 8, design 10).

    Another owner may, who was not told. Who has lost the partition may call once more.
    """
    owners: Counter[int] = Counter()
    last: dict[str, tuple[Called, int]] = {}
    for one in reading.evidence.seen:
        if isinstance(one, Fault) and one.new_owner:
            owners[one.partition] += 1
        if not isinstance(one, Called) or one.fenced:
            continue
        dialog = reading.dialogs.get(one.session_id)
        owner = 0 if dialog is None else owners[dialog.partition.number]
        before, owner_before = last.get(one.reply_id, (None, owner))
        if before is not None and owner == owner_before and before.took and not before.unsaid:
            yield _at(one, f"{one.reply_id} was called for again by who knew that it was taken")
        last[one.reply_id] = one, owner


def failed_for_a_reason(reading: Reading) -> Iterator[Found]:
    """A reply fails where its platform refuses it, or no attempt is left (design 10, 11: retry)."""
    refused = {one.reply_id for one in reading.calls if one.refused}
    for one in _deliveries(reading):
        if one.state != "failed" or one.attempt >= ATTEMPTS_MAX or one.reply_id in refused:
            continue
        yield _of(one, f"{one.reply_id} failed, tried {one.attempt} times and refused by nobody")


def nothing_after_it_was_withdrawn(reading: Reading) -> Iterator[Found]:
    """A withdraw read before the mark means never sent (design 10).

    So nothing that an earlier step ordered is called for once the withdrawing step is durable; who
    has lost the partition cannot know of it.
    """
    calls: dict[str, list[Called]] = defaultdict(list)
    for call in reading.calls:
        calls[call.reply_id].append(call)
    for dialog in reading.dialogs.values():
        for reply_id, (offset, seq) in _withdrawn(dialog).items():
            for one in calls[reply_id]:
                if one.watermark >= offset and not one.fenced:
                    yield _at(one, f"{reply_id} was withdrawn at seq {seq}, and called for")


def _withdrawn(dialog: Dialog) -> dict[str, tuple[int, int]]:
    """The replies that a withdraw asked back, with the offset and seq of the first such step."""
    found: dict[str, tuple[int, int]] = {}
    if not any(isinstance(effect.body, Withdraw) for effect in dialog.effects):
        return found
    ordered: list[str] = []
    for offset, record in dialog.durable:
        for effect in record.effects:
            if isinstance(effect.body, Withdraw):
                meant = ordered if effect.body.reply_id is None else [effect.body.reply_id]
                found |= {one: (offset, record.seq) for one in meant if one not in found}
        ordered += [
            effect.body.reply_id
            for effect in record.effects
            if isinstance(effect.body, SendMessage | CloseReply)
        ]
    return found


def replies_in_order(reading: Reading) -> Iterator[Found]:
    """A session's replies arrive in the order in which its steps ordered them (design 10).

    Within a step, what ends replies and what is said anew each keep their order.
    """
    place: dict[str, tuple[int, bool, int]] = {}
    for dialog in reading.dialogs.values():
        for record in dialog.known:
            for n, effect in enumerate(record.effects):
                if isinstance(effect.body, SENDS):
                    ends = isinstance(effect.body, CloseReply)
                    place[effect.body.reply_id] = (record.seq, ends, n)
    # Who has lost a partition may call within 2 s of a mark that its new owner found unknown.
    late = {one.reply_id for one in reading.calls if one.fenced}
    last: dict[tuple[str, bool], Received] = {}
    for one in reading.received:
        if one.reply_id not in place or one.reply_id in late:
            continue
        seq, ends, n = place[one.reply_id]
        for kind in (True, False):
            before = last.get((one.session_id, kind))
            if before is None:
                continue
            before_seq, _, before_n = place[before.reply_id]
            if before_seq > seq or (before_seq == seq and kind == ends and before_n > n):
                yield _at(one, f"{one.reply_id} was received after {before.reply_id}")
        last[one.session_id, ends] = one


def no_frame_after_its_end(reading: Reading) -> Iterator[Found]:
    """A closed reply drops late frames (design 10): none after its close or its receipt."""
    closed: dict[str, int] = {}
    opened: set[str] = set()
    for dialog in reading.dialogs.values():
        for offset, record in dialog.durable:
            for effect in record.effects:
                body = effect.body
                if isinstance(body, CloseReply):
                    closed.setdefault(body.reply_id, offset)
                if isinstance(body, CallModel) and body.stream:
                    opened.add(body.reply_id)
    received: set[str] = set()
    for one in reading.evidence.seen:
        if isinstance(one, Received):
            received.add(one.reply_id)
        if not isinstance(one, Shown):
            continue
        if one.watermark >= closed.get(one.reply_id, NEVER):
            yield _at(one, f"a frame of {one.reply_id} was shown after it was closed")
        if one.reply_id in received:
            yield _at(one, f"a frame of {one.reply_id} was shown after its end was received")
        if one.reply_id not in opened:
            yield _at(one, f"a frame of {one.reply_id}, which nobody opened")


def what_hands_over_is_not_shown(reading: Reading) -> Iterator[Found]:
    """A strategy that matches ends the call before anything of it is shown (design 5).

    An answer that matches is marked, and no other. A repeat without an upper bound means less to
    the engine than it says: what it matches need not count.
    """
    frames: dict[str, list[Shown]] = defaultdict(list)
    for shown in reading.evidence.seen:
        if isinstance(shown, Shown):
            frames[shown.reply_id].append(shown)
    for dialog in reading.dialogs.values():
        asked = {effect.id: effect.body for effect in dialog.effects}
        for _, event in dialog.partition.of(dialog.id):
            body, request = event.body, asked.get(event.effect or "")
            if not isinstance(body, ANSWERS):
                continue
            if not isinstance(request, ANSWERED) or _is_cut(body):
                continue
            found = {s.pattern: re.search(s.pattern, body.text) for s in request.fallbacks}
            certain = [m for p, m in found.items() if m is not None and not OPEN_REPEAT.search(p)]
            if certain and body.fallback is None:
                yield Found(f"the answer to {event.effect} hands over, and is not marked so")
            if body.fallback is not None and not any(found.values()):
                yield Found(f"the answer to {event.effect} hands over for nothing")
            if certain and isinstance(request, CallModel):
                begins = min(match.start() for match in certain)
                for frame in frames[request.reply_id]:
                    if len(frame.text) > begins and body.text.startswith(frame.text):
                        yield _at(frame, f"{frame.reply_id} showed what hands over")


def _is_cut(body: ModelReplied | SkillDone) -> bool:
    return body.cut or len(body.text.encode()) > REPLY_TEXT_BYTES_MAX - 4


def frames_grow(reading: Reading) -> Iterator[Found]:
    """The greatest (attempt, n) wins, at most 10 frames a second and reply (design 9)."""
    frames: dict[str, list[Shown]] = defaultdict(list)
    for one in reading.evidence.seen:
        if isinstance(one, Shown):
            frames[one.reply_id].append(one)
    for reply_id, shown in frames.items():
        for before, one in pairwise(shown):
            if (one.attempt, one.n) <= (before.attempt, before.n):
                yield _at(one, f"{reply_id}: frame {one.n} was shown after {before.n}")
        by_attempt: dict[int, list[int]] = defaultdict(list)
        for one in shown:
            by_attempt[one.attempt].append(one.at_ms)
            times = by_attempt[one.attempt]
            if len(times) > FRAMES_PER_S_MAX and times[-1] - times[-1 - FRAMES_PER_S_MAX] < 1_000:
                yield _at(one, f"{reply_id}: more than {FRAMES_PER_S_MAX} frames in a second")


def limiter(reading: Reading) -> Iterator[Found]:
    """Never more than `max_requests` calls in any sliding period, per account (design 10)."""
    if reading.evidence.limit is None:
        return
    at_most, period_ms = reading.evidence.limit
    by_account: dict[str, list[Called]] = defaultdict(list)
    for one in reading.calls:
        by_account[one.session_id.rpartition(":")[0]].append(one)
    for calls in by_account.values():
        calls.sort(key=_when)
        for first, one in zip(calls, calls[at_most:], strict=False):
            n, within_ms = at_most + 1, _when(one) - _when(first)
            if within_ms < period_ms:
                yield _at(one, f"{n} calls in {within_ms} ms, allowed are {at_most} in {period_ms}")


def _when(call: Called) -> int:
    """The platform counts by its own clock."""
    return call.at_ms if call.platform_ms is None else call.platform_ms


def _deliveries(reading: Reading) -> list[Delivery]:
    return [one for dialog in reading.dialogs.values() for one in dialog.deliveries]


def _at(one: Called | Received | Shown, what: str) -> Found:
    return Found(what, one.at_ms, session_id=one.session_id)


def _of(one: Delivery, what: str) -> Found:
    return Found(what, one.queued_ms, session_id=one.session_id)


WHOLE_LAWS: Mapping[str, Callable[[Reading], Iterator[Found]]] = {
    "mark before call": mark_before_call,
    "called soon after its mark": called_soon_after_its_mark,
    "received once": received_once,
    "received as ordered": received_as_ordered,
    "both sides agree": both_sides_agree,
    "unknown for a reason": unknown_for_a_reason,
    "called again for a reason": called_again_for_a_reason,
    "failed for a reason": failed_for_a_reason,
    "nothing after it was withdrawn": nothing_after_it_was_withdrawn,
    "replies in order": replies_in_order,
    "no frame after its reply closed": no_frame_after_its_end,
    "what hands over is not shown": what_hands_over_is_not_shown,
    "frames grow": frames_grow,
    "limiter": limiter,
}
