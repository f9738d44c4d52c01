"""The signed cookie that says which person a browser is, before anything else is looked at.

`person` = `<person id>.<signature>`: whoever has it reaches that person's conversations, and nobody
else does, because the session's id is derived from the person's. The key lives in the data
directory; losing it makes every browser a new person.

What it never does: hold anything about the person; tell why a cookie was not accepted.
"""

import hmac
import re
import secrets
from hashlib import blake2b

NAME = "person"
MAX_AGE_S = 400 * 24 * 3_600
"""The longest that browsers keep a cookie."""

_PERSON = re.compile(r"[0-9a-f]{32}\Z")


class PersonCookie:
    """Makes and reads the cookie with one key (at least 16 bytes)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"the cookie key has {len(key)} bytes, at least 16 are needed")
        # Derived, so that the same key may sign other things in other places.
        self._key = blake2b(b"webchat person cookie", key=key[:64], digest_size=32).digest()

    def new(self) -> str:
        """The cookie of a person never seen before."""
        return self.make(secrets.token_hex(16))

    def make(self, person: str) -> str:
        """The cookie of this person (32 hex digits)."""
        return f"{person}.{self._sign(person)}"

    def read(self, value: str | None) -> str | None:
        """The person, if the cookie is ours and whole."""
        person, _, signature = (value or "").partition(".")
        if not _PERSON.match(person) or not signature.isascii():
            return None
        return person if hmac.compare_digest(signature, self._sign(person)) else None

    def header(self, value: str, *, secure: bool) -> str:
        """The Set-Cookie header; `secure` where the page came over https."""
        parts = [f"{NAME}={value}", "Path=/", f"Max-Age={MAX_AGE_S}", "HttpOnly", "SameSite=Lax"]
        return "; ".join([*parts, "Secure"] if secure else parts)

    def _sign(self, person: str) -> str:
        return blake2b(person.encode(), key=self._key, digest_size=16).hexdigest()
