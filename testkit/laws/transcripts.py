"""Laws of what was said in a dialog, and of what is remembered of it for the prompts to come."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b

import msgspec

from engine.effects import CallModel
from engine.events import Redriven
from engine.limits import REPLY_TEXT_BYTES_MAX, TRANSCRIPT_BYTES_MAX, TRANSCRIPT_TURNS_MAX
from engine.session import Session, TranscriptTurn
from testkit.laws.reading import SENDS, Stepped

_encode = msgspec.json.Encoder().encode
SAID_MAX = 10
"""Replies of one step that are told apart in a transcript: a usual step has one."""


def transcript_as_said(one: Stepped) -> Iterator[str]:
    """The transcript holds what was said, by whom, in order (design 4, dialogs)."""
    turns = _changed(one)
    if not turns:
        return
    events = (*one.before.postponed, one.event)
    texts = [e.body.message.text if isinstance(e.body, Redriven) else e.text for e in events]
    for turn, old in turns:
        if old is None and turn.user not in texts:
            yield f"turn {turn.n} begins with what nobody wrote"
        elif old is not None and turn.user != old.user:
            yield f"turn {turn.n} has another text"
        elif _gained(one, turn, old) is None:
            yield f"turn {turn.n} ends with what was not said"
    gained = sum(turn.bot != (old.bot if old is not None else "") for turn, old in turns)
    if gained > 1 and gained > len(_said(one)):
        yield f"{gained} turns have got {len(_said(one))} replies"


def said_once(one: Stepped) -> Iterator[str]:
    """What answers reaches its person once, as often as its turn has got it (design 4, 10).

    What no turn has got (a greeting, an apology, words when the dialog ends) is said once in a
    microstep, for each message that is refused, and where the step failed.
    """
    if len(one.record.effects) < 2 or len(texts := _said(one)) < 2:
        return
    said, remembered, is_all = Counter(texts), Counter[str](), len(texts) <= SAID_MAX
    for turn, old in _changed(one):
        pieces = _gained(one, turn, old)
        is_all = is_all and bool(pieces or turn.bot == (old.bot if old is not None else ""))
        remembered.update(pieces or ())
    waits = [waiting.turn for waiting in one.before.unanswered]
    begins = min([*waits, max(one.before.turns, 1)])
    kept = one.after.epoch == one.before.epoch and one.after.transcript
    is_all = is_all and bool(kept) and one.after.transcript[0].n <= begins
    refused = sum(disposition.how == "refused" for disposition in one.record.dispositions)
    at_most = len(one.record.path) + refused + (one.record.error is not None)
    for text, n in said.items():
        more = n - remembered[text]
        if text and more > (0 if is_all and remembered[text] else at_most):
            yield f"the same was said {n} times, and stands in {remembered[text]} turns"


def answers_are_remembered(one: Stepped) -> Iterator[str]:
    """What answered a message stands in its turn (design 4, dialogs: for the prompts to come)."""
    if one.after.epoch != one.before.epoch:
        return
    if not any(d.how == "answered" and not d.note for d in one.record.dispositions):
        return
    turns = {waiting.event_id: waiting.turn for waiting in one.before.unanswered}
    # A message that was answered in the step that took it, where that took no other.
    new = one.after.turns if one.after.turns == one.before.turns + 1 else 0
    for disposition in one.record.dispositions:
        if disposition.how != "answered" or disposition.note:
            continue
        n = turns.get(disposition.message, new)
        before, after = _turn(one.before, n), _turn(one.after, n)
        is_kept = after is not None and after.bot == (before.bot if before is not None else "")
        if is_kept and any(_said(one)):
            yield f"turn {n} was answered, and does not say how"


def turns_are_counted(one: Stepped) -> Iterator[str]:
    """A transcript of at most 20 turns and 32 KiB, without gaps up to the last (design 4)."""
    turns = one.after.transcript
    if len(turns) > TRANSCRIPT_TURNS_MAX:
        yield f"{len(turns)} turns"
    is_new = one.record.seq == 1 or turns != one.before.transcript  # else judged with that one
    if is_new and len(turns) > 1 and (size := len(_encode(turns))) > TRANSCRIPT_BYTES_MAX:
        yield f"{size} bytes of turns"
    numbers = [turn.n for turn in turns]
    last = one.after.turns
    if not turns and not last and not one.after.unanswered:
        return
    if numbers != list(range(last - len(turns) + 1, last + 1)):
        yield f"turns {numbers} of {last}"
    if last and not turns:
        yield f"{last} turns, and none is known"
    for waiting in one.after.unanswered:
        known = waiting.turn in numbers
        if not 1 <= waiting.turn <= last or (not known and not waiting.text):
            yield f"{waiting.event_id} waits in turn {waiting.turn}, its text is not known"


def prompts_name_their_turns(one: Stepped) -> Iterator[str]:
    """`CallModel` names its turns by range and digest (design 4)."""
    calls = [effect for effect in one.requests if isinstance(effect.body, CallModel)]
    if not calls:
        return
    known = {turn.n: turn for turn in one.before.transcript}
    still = {turn.n: turn for turn in one.after.transcript}
    for effect in calls:
        body = effect.body
        if not isinstance(body, CallModel) or effect.epoch != one.before.epoch:
            continue
        named: list[TranscriptTurn] = []
        for n in range(body.first, body.last + 1):
            if n not in known or known[n] != still.get(n):
                break
            named.append(known[n])
        else:
            value = _encode(named) if named else b""
            if blake2b(value, digest_size=8).hexdigest() != body.digest:
                yield f"{effect.id} does not name turns {body.first} to {body.last}"
        waits = [waiting.turn for waiting in one.after.unanswered]
        if waits and body.last >= waits[0]:
            yield f"{effect.id} takes turn {body.last} for an answered one"


# ---- inside ------------------------------------------------------------------------------------


def _turn(session: Session, n: int) -> TranscriptTurn | None:
    return next((turn for turn in reversed(session.transcript) if turn.n == n), None)


def _said(one: Stepped) -> list[str]:
    return [body.text or "" for body in one.bodies if isinstance(body, SENDS)]


def _changed(one: Stepped) -> list[tuple[TranscriptTurn, TranscriptTurn | None]]:
    """The turns that are new, or other than before, each with how it was."""
    if one.after.epoch != one.before.epoch:
        return [(turn, None) for turn in one.after.transcript]
    if one.after.transcript is one.before.transcript:
        return []
    before = {turn.n: turn for turn in one.before.transcript}
    turns = [(turn, before.get(turn.n)) for turn in one.after.transcript]
    return [(turn, old) for turn, old in turns if turn is not old and turn != old]


def _gained(
    one: Stepped, turn: TranscriptTurn, old: TranscriptTurn | None
) -> tuple[str, ...] | None:
    """What a turn has got of what was said in this step; None: something else.

    Nothing where that cannot be told any more, because it was cut.
    """
    before, now = old.bot if old is not None else "", turn.bot
    could_be: dict[str, tuple[str, ...]] = {before: ()}
    for text in _said(one)[:SAID_MAX]:
        for known, pieces in [*could_be.items()]:
            could_be.setdefault(f"{known}\n{text}" if known else text, (*pieces, text))
    if now in could_be:
        return could_be[now]
    # Somebody who goes on and on is remembered by the newest that they said.
    long = [known for known in could_be if len(known.encode()) > REPLY_TEXT_BYTES_MAX]
    is_cut = len(now.encode()) > REPLY_TEXT_BYTES_MAX - 4
    return () if is_cut and any(known.endswith(now) for known in long) else None


STEP_LAWS: Mapping[str, Callable[[Stepped], Iterator[str]]] = {
    "transcript agrees with what was said": transcript_as_said,
    "said once": said_once,
    "answers are remembered": answers_are_remembered,
    "transcript is bounded and counted": turns_are_counted,
    "prompts name their turns": prompts_name_their_turns,
}
