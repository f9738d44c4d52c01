"""Choose the next token from a model's logits: the best one, or a repeatable draw.

Place in the data path: inside the llama.cpp child's decode loop, once per token.

What it never does: draw from a source of its own. The seed comes with the request, so the same
request on the same build and the same logits gives the same answer.
"""

import random
from collections import deque

import numpy as np
import numpy.typing as npt

CANDIDATES = 64
"""Tokens that are weighed in a draw. Sorting a whole vocabulary would cost more than decoding."""

REMEMBERED = 64
"""Tokens of the answer that the repeat penalty looks back on."""


class Sampler:
    """One request's choices.

    Args:
        seed: any integer.
        temperature_permille: 0 takes the best token always; 1 000 draws as the model weighs them.
        top_p_permille: draw among the best tokens that together weigh this much, 1 to 1 000.
        repeat_penalty_permille: makes the answer's last 64 tokens less likely, 1 000 (off) to
            2 000. Small models fall into loops without it. Source: CTRL, arXiv 1909.05858, 4.1.
    """

    def __init__(
        self,
        *,
        seed: int,
        temperature_permille: int,
        top_p_permille: int,
        repeat_penalty_permille: int = 1_000,
    ) -> None:
        self._chance = random.Random(seed)
        self._temperature = temperature_permille / 1000
        self._top_p = top_p_permille / 1000
        self._penalty = repeat_penalty_permille / 1000
        self._recent: deque[int] = deque(maxlen=REMEMBERED)

    def pick(self, logits: npt.NDArray[np.float32]) -> int:
        """Return the token chosen. Shape: float32 [vocabulary]."""
        token = self._drawn(self._penalised(logits))
        self._recent.append(token)
        return token

    def _penalised(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._penalty == 1 or not self._recent:
            return logits
        logits = logits.copy()  # the model's own memory
        recent = np.unique(np.fromiter(self._recent, np.int64))
        said = logits[recent]
        logits[recent] = np.where(said > 0, said / self._penalty, said * self._penalty)
        return logits

    def _drawn(self, logits: npt.NDArray[np.float32]) -> int:
        if self._temperature <= 0:
            return int(logits.argmax())
        best = logits.size - min(CANDIDATES, logits.size)
        candidates = np.argpartition(logits, best)[best:]
        # By weight, and by number where two weigh the same: the order must not be left to chance.
        candidates = candidates[np.lexsort((candidates, -logits[candidates]))]
        scaled = logits[candidates].astype(np.float64) / self._temperature
        weights = np.exp(scaled - scaled[0])
        sums = np.cumsum(weights)
        kept = int(np.searchsorted(sums, self._top_p * sums[-1])) + 1
        drawn = self._chance.random() * sums[min(kept, sums.size) - 1]
        return int(candidates[int(np.searchsorted(sums, drawn, side="right"))])
