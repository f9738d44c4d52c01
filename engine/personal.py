"""Marks the fields that hold personal content or addresses, in their type, from the first day.

`Personal` is a plain `str` on the wire. Whoever logs, exports or seals a record goes through this
mark (`engine.codec.mask`, `engine.codec.encode(seal=…)`), never around it.
"""

from typing import Annotated

import msgspec

Personal = Annotated[str, msgspec.Meta(extra={"personal": True})]
"""Text that a person wrote or was shown, or that says who or where they are."""

PersonalRaw = Annotated[msgspec.Raw, msgspec.Meta(extra={"personal": True})]
"""An encoded object that may hold such text: it is masked and sealed whole."""
