"""A shorter list that still fails: delta debugging, the same for the same list and the same test.

Used on stimuli and on lines of a chat, whatever they are: any part may be left out of either.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
CALLS_MAX = 2_000


def reduce(
    items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, calls_max: int = CALLS_MAX
) -> list[T]:
    """The items from which no single one can be left out without `fails` becoming False.

    `fails` is asked at most `calls_max` times; after that, the shortest list so far is returned.
    Raises ValueError where the whole list does not fail: then there is nothing to keep.
    """
    kept = list(items)
    left = calls_max - 1
    if calls_max < 1 or not fails(kept):
        raise ValueError("the whole list does not fail")
    size = max(1, len(kept) // 2)
    while kept:
        begin, smaller = 0, False
        while begin < len(kept):
            if left < 1:
                return kept
            left -= 1
            without = kept[:begin] + kept[begin + size :]
            if fails(without):
                kept, smaller = without, True  # what came after it stands here now
            else:
                begin += size
        if size == 1 and not smaller:
            return kept
        # One by one until nothing goes any more: what is left out may have kept another one.
        size = max(1, size // 2)
    return kept
