"""Marks the fields that hold personal content or addresses, in their type, from the first day.

`Personal` is a plain `str` on the wire. Whoever logs, exports or seals a record goes through this
mark (`engine.codec.encode(seal=…)`; a seal that keeps nothing of the text masks it), never around
it. No log line holds a record: ids, sizes and states say enough.
"""

from typing import Annotated

import msgspec

Personal = Annotated[str, msgspec.Meta(extra={"personal": True})]
"""Text that a person wrote or was shown, or that says who or where they are."""

PersonalRaw = Annotated[msgspec.Raw, msgspec.Meta(extra={"personal": True})]
"""An encoded object that may hold such text: it is sealed whole."""

PersonalBytes = Annotated[bytes, msgspec.Meta(extra={"personal": True})]
"""A record as it was read, which may hold such text: base64 on the wire, and sealed whole."""
