"""Gateways that break one promise each: the channels' suites' own, with one thing wrong.

For `test_broken_gateways`, which wants the suites to notice. The comment is the promise.
"""

import asyncio
from itertools import count
from typing import Any

from msgspec.structs import replace

from engine.errors import EngineError, Refused, Unavailable
from engine.limits import MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from engine.ports import Incoming, Line, SessionView
from testkit.conformance import Took
from testkit.conformance.channel_gateway import NOW_MS, SuiteGateway, a_view
from tests.conformance.suite_gateway_host import SuiteGatewayHost

LATER_S = 0.05


class BrokenHost(SuiteGatewayHost):
    """Its gateway may do something wrong at a restart."""

    async def restart(self) -> None:
        if isinstance(self._gateway, Restarts):
            self._gateway.restarted()


class Restarts(SuiteGateway):
    def restarted(self) -> None:
        """What it should not."""


# ---- messages --------------------------------------------------------------------------------


class AcksFirst(SuiteGateway):  # durable once it is accepted
    async def accept(self, incoming: Incoming) -> str:
        asyncio.get_running_loop().call_later(
            LATER_S, lambda: asyncio.ensure_future(SuiteGateway.accept(self, incoming))
        )
        return self.session_of(incoming)


class OwnSessions(SuiteGateway):  # it returns the session of these ids
    async def accept(self, incoming: Incoming) -> str:
        return f"{await super().accept(incoming)}0"


class TakesAgain(SuiteGateway):  # the same message is taken once
    async def accept(self, incoming: Incoming) -> str:
        session_id = await super().accept(incoming)
        if len(self.calls) > len(self._log):
            self._log[(session_id, "again", str(len(self.calls)))] = Took(
                "message", incoming.message_id, incoming.text
            )
        return session_id


class RefusesAgain(SuiteGateway):  # a repetition is no error
    async def accept(self, incoming: Incoming) -> str:
        if incoming in self.taken:
            raise Refused("this message was taken before: send another")
        return await super().accept(incoming)


class Races(SuiteGateway):  # once, also where it comes many times at once
    async def accept(self, incoming: Incoming) -> str:
        known = {one.message_id for one in self.taken}
        await asyncio.sleep(LATER_S)
        session_id = await super().accept(incoming)
        if incoming.message_id not in known:
            self._log[(session_id, "message", f"{len(self.calls)}")] = Took(
                "message", incoming.message_id, incoming.text
            )
        return session_id


class KnowsOnlyIds(SuiteGateway):  # an id is its conversation's
    def _is_new(self, session_id: str, key: str, took: Took) -> bool:
        known = any(key == other for _, _, other in self._log)
        return not known and super()._is_new(session_id, key, took)


class MarksFirst(SuiteGateway):  # who hangs up may ask again
    async def accept(self, incoming: Incoming) -> str:
        session_id = self.session_of(incoming)
        if any(one.message_id == incoming.message_id for one in self.calls):
            return session_id
        self.calls.append(incoming)
        await asyncio.sleep(LATER_S)
        return await super().accept(incoming)


class TakesEmpty(SuiteGateway):  # a message has a text
    async def accept(self, incoming: Incoming) -> str:
        text = incoming.text if incoming.text.strip("\x00\x07 \t\n") else "(empty)"
        return await super().accept(replace(incoming, text=text))


class Cuts(SuiteGateway):  # what is too long is refused
    async def accept(self, incoming: Incoming) -> str:
        text = incoming.text.encode("utf-8", "replace")[:MESSAGE_TEXT_BYTES_MAX]
        return await super().accept(replace(incoming, text=text.decode("utf-8", "ignore")))


class LosesQuotes(SuiteGateway):  # what is quoted is bounded, too
    async def accept(self, incoming: Incoming) -> str:
        quoted = incoming.quoted.encode("utf-8", "replace")[:QUOTED_TEXT_BYTES_MAX]
        return await super().accept(replace(incoming, quoted=quoted.decode("utf-8", "ignore")))


class Quotes(SuiteGateway):  # an error quotes nobody
    async def accept(self, incoming: Incoming) -> str:
        try:
            return await super().accept(incoming)
        except Refused as error:
            raise Refused(f"{error}: {incoming.text}{incoming.quoted}") from None


class Stingy(SuiteGateway):  # what just fits is taken
    async def accept(self, incoming: Incoming) -> str:
        if len(incoming.text) >= MESSAGE_TEXT_BYTES_MAX:
            raise Refused("text is too long: send it in parts")
        return await super().accept(incoming)


class Delicate(SuiteGateway):  # whatever is sent is taken or refused
    async def accept(self, incoming: Incoming) -> str:
        incoming.reply_token.encode()
        return await super().accept(incoming)


class RecordsAnything(SuiteGateway):  # what is recorded is well formed
    def _is_new(self, session_id: str, key: str, took: Took) -> bool:
        if took.what == "message":
            took = took._replace(text=self.calls[-1].text)
        return super()._is_new(session_id, key, took)


# ---- whose session ---------------------------------------------------------------------------


class Joins(SuiteGateway):  # ("ab", "c") and ("a", "bc") are two
    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        return super().session_id(account, conversation=conversation + sender, sender="")


class AnyAccount(SuiteGateway):  # an account is its gateway's
    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        return super().session_id("main", conversation=conversation, sender=sender)


class Plain(SuiteGateway):  # nobody reads a person out of it
    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        found = super().session_id(account, conversation=conversation, sender=sender)
        return f"{found}{sender.encode('utf-8', 'surrogatepass').hex()}"


class NamesNoAccount(SuiteGateway):  # a session is told by its account
    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        found = super().session_id(account, conversation=conversation, sender=sender)
        return found.rpartition(":")[2]


# ---- stops and verdicts ----------------------------------------------------------------------


class CountsAll(SuiteGateway):  # a repeated press is known by its request id
    numbers = count()

    async def _press(self, pressed: Any, *, key: str) -> None:
        await super()._press(pressed, key=f"{next(self.numbers)}")


class FirstHolds(SuiteGateway):  # the last verdict holds
    async def _press(self, pressed: Any, *, key: str) -> None:
        await super()._press(pressed, key=pressed.reply_id)


class NeedsRequestIds(SuiteGateway):  # without one, an equal verdict is one
    async def _press(self, pressed: Any, *, key: str) -> None:
        await super()._press(pressed, key=pressed.request_id)


class AnyVerdict(SuiteGateway):  # up or down
    async def feedback(self, session_id: str, *, verdict: str, **more: Any) -> None:
        known = verdict if verdict in ("up", "down") else "up"
        await super().feedback(session_id, verdict=known, **more)


class MakesSessions(SuiteGateway):  # a press makes no session
    async def _press(self, pressed: Any, *, key: str) -> None:
        self._lines.setdefault(pressed.session_id, [])
        await super()._press(pressed, key=key)


class TrustsReplies(SuiteGateway):  # a reply's id is bounded, and well formed
    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        self._log[(session_id, "stop", request_id)] = Took("stop", reply_id)


class EncodesReplies(SuiteGateway):  # whatever a press names, it is no crash
    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        request_id.encode()
        await super().stop(session_id, reply_id=reply_id, request_id=request_id)


class BackInTime(SuiteGateway):  # time never goes back
    def now_ms(self) -> int:
        return NOW_MS - len(self.calls)


# ---- lines and views -------------------------------------------------------------------------


class KnowsEverybody(SuiteGateway):  # there is nothing before the first message
    async def view(self, session_id: str) -> SessionView | None:
        return a_view(session_id)


class FailsForStrangers(SuiteGateway):  # a session that is not there has no lines
    async def lines(self, session_id: str, **page: Any) -> list[Line]:
        if session_id not in self._lines:
            raise Refused("there is no such session: send a message first")
        return await super().lines(session_id, **page)


class ChangesLines(SuiteGateway):
    """Changes what a reader gets."""

    def changed(self, line: Line) -> Line:
        return line

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        found = await super().lines(session_id, after=after, limit=limit)
        return [self.changed(line) for line in found]


class OneLine(ChangesLines):  # as it was written
    def changed(self, line: Line) -> Line:
        return replace(line, text=" ".join(line.text.split()))


class OtherClock(ChangesLines):  # of the log's time
    def changed(self, line: Line) -> Line:
        return replace(line, at_ms=line.n)


class FromZero(ChangesLines):  # numbered from 1
    def changed(self, line: Line) -> Line:
        return replace(line, n=line.n - 1)


class NeverLate(ChangesLines):  # what came too late says so
    def changed(self, line: Line) -> Line:
        return replace(line, how="")


class RawLines(ChangesLines):  # nothing that breaks a terminal
    def changed(self, line: Line) -> Line:
        return replace(line, text=f"{line.text[:-5]}\x1b{line.text[-5:]}")


class Newest(SuiteGateway):  # the numbers of lines never change
    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        found = (await super().lines(session_id, after=0, limit=limit))[::-1]
        return [replace(line, n=n) for n, line in enumerate(found, 1) if n > after]


class NoLimit(SuiteGateway):  # at most `limit`
    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        return await super().lines(session_id, after=after, limit=limit + 1)


class FromThere(SuiteGateway):  # n > after
    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        return await super().lines(session_id, after=after - 1, limit=limit)


class WritesAgain(SuiteGateway):  # one line for one message
    async def accept(self, incoming: Incoming) -> str:
        session_id = await super().accept(incoming)
        if self.taken[-1].message_id != incoming.message_id:
            repeated = f"{incoming.message_id}-{len(self.calls)}"
            self._write(session_id, repeated, author="user", text=incoming.text)
        return session_id


class OneRoom(SuiteGateway):  # nobody reads another's lines
    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        every = [line for lines in self._lines.values() for line in lines]
        return every[max(after, 0) :][:limit]


class OtherView(SuiteGateway):  # a view is its session's
    async def view(self, session_id: str) -> SessionView | None:
        found = await super().view(session_id)
        return None if found is None else replace(found, person=True)


# ---- restarts, and a log that fails -----------------------------------------------------------


class Forgets(Restarts):  # what was accepted is durable
    def restarted(self) -> None:
        self._log.clear()


class ForgetsWhatItTook(Restarts):  # what was taken before a restart is not taken again
    def restarted(self) -> None:
        self._log = {(s, f"old {kind}", key): one for (s, kind, key), one in self._log.items()}


class ForgetsLines(Restarts):  # lines are durable
    def restarted(self) -> None:
        for lines in self._lines.values():
            lines.clear()


class StartsItsClockAnew(Restarts):  # time goes on
    behind_ms = 0

    def restarted(self) -> None:
        self.behind_ms = 1

    def now_ms(self) -> int:
        return NOW_MS - self.behind_ms


class TakesAnyway(SuiteGateway):  # what is not durable is not acknowledged
    def _fail(self) -> None:
        pass


class RefusesInstead(SuiteGateway):  # what may be durable later is not refused
    def _fail(self) -> None:
        try:
            super()._fail()
        except Unavailable as error:
            raise Refused(str(error)) from None


class Breaks(SuiteGateway):  # a log that fails is no crash
    def _fail(self) -> None:
        try:
            super()._fail()
        except EngineError as error:
            raise OSError(str(error)) from None


class TakesWhatItDenies(SuiteGateway):  # what was unavailable is taken once
    def _fail(self) -> None:
        try:
            super()._fail()
        except Unavailable:
            said = self.calls[-1]
            took = Took("message", said.message_id, said.text)
            self._log[(self.session_of(said), "denied", f"{len(self._log)}")] = took
            raise


class LosesWhatItDenies(SuiteGateway):  # what was unavailable is taken when it comes again
    def _fail(self) -> None:
        try:
            super()._fail()
        except Unavailable:
            said = self.calls[-1]
            self._log[("nowhere", "message", said.message_id)] = Took("message", said.message_id)
            raise

    def _is_new(self, session_id: str, key: str, took: Took) -> bool:
        lost = ("nowhere", "message", key) in self._log
        return not lost and super()._is_new(session_id, key, took)
