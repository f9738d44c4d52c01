"""One seeded defect: what it does, the law that should find it, and the patch of one file.

The laws are those of the design (its sections are named by §), and each was written down before its
mutant was first tried. No law, and no code of the kit, knows of any mutant.
"""

from dataclasses import dataclass


class Stale(Exception):
    """The patch does not fit the source exactly once: the mutant has to be written anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """`law`: the law that should find it. `old` stands exactly once in `file`."""

    name: str
    says: str
    law: str
    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The file's text with the defect in it. Raises Stale."""
        found = text.count(self.old)
        if found != 1:
            raise Stale(f"{self.name}: its text stands {found} times in {self.file}, not once")
        return text.replace(self.old, self.new)
