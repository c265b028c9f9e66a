"""Sentiment without a classifier: a direction in embedding space from bearish to bullish example sentences.

The score of a text is its place on that direction, as "semantic axis" methods have it (An, Kwak and Ahn 2018, SemAxis),
on sentence embeddings. The examples come in pairs that differ in nothing but their direction, so that subjects cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_pipeline.errors import ModelError
from quant_pipeline.features.kernels import FloatArray

Float32s = npt.NDArray[np.float32]

PAIRS = (
    ("Shares rise sharply after strong earnings", "Shares fall sharply after weak earnings"),
    ("Profits beat expectations and the outlook improves", "Profits miss expectations and the outlook worsens"),
    ("Prices rally to a record high", "Prices plunge to a record low"),
    ("Analysts upgrade the stock and raise their price target", "Analysts downgrade the stock and cut their price target"),
    ("Investors are optimistic about future growth", "Investors are worried about a future slump"),
    ("The market surges on good news", "The market tumbles on bad news"),
    ("Strong demand lifts prices", "Weak demand drags prices down"),
    ("The company announces record sales and expansion", "The company announces heavy losses and layoffs"),
    ("The economy is growing faster than expected", "The economy is shrinking faster than expected"),
    ("Buyers rush in as confidence returns", "Sellers rush out as fear spreads"),
)
"""General sentences on finance, bullish and bearish; written once, tuned on no data."""
NEUTRAL = (
    "Shares are little changed in quiet trading",
    "The company will publish its results on Thursday",
    "Prices hold steady as investors await data",
    "The central bank leaves interest rates unchanged",
    "Analysts maintain their rating of the stock",
    "A summary of what happened in markets today",
    "The firm names a new member of the board",
    "Trading volume was close to its average",
)


@dataclass(frozen=True, eq=False)
class Axis:
    """A unit `direction` (d,), the place of neutral texts on it, and the distance from there to the examples' mean."""

    direction: Float32s
    centre: float
    reach: float

    def score(self, embedding: Float32s) -> FloatArray:
        """(n,) sentiment in (-1, 1) of (n, d) embeddings: 0 at the neutral examples, +-0.76 at the mean of either side."""
        place = embedding.astype(np.float64) @ self.direction.astype(np.float64)
        return np.tanh((place - self.centre) / self.reach)


def make_axis(bullish: Float32s, bearish: Float32s, neutral: Float32s) -> Axis:
    """The axis from the mean of `bearish` to that of `bullish`, each (k, d), with zero at the mean of `neutral`.

    Raises:
        ModelError: the two means coincide, so the encoder tells nothing of direction.
    """
    gap = (bullish - bearish).mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(gap))
    if not length > 0:
        raise ModelError(
            "sentiment axis", found="bullish and bearish sentences at the same place", wanted="an encoder that tells them apart",
            mend="choose another `encoder`, or one with a classifier",
        )  # fmt: skip
    direction = (gap / length).astype(np.float32)
    centre = float((neutral.astype(np.float64) @ direction).mean())
    return Axis(direction, centre, length / 2)
