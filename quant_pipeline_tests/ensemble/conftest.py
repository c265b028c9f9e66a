"""Three base models of known worth on a market of known probabilities, split into folds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from quant_pipeline.models.contract import Prediction
from quant_pipeline.models.probabilities import floored, softmax, up_probability
from quant_pipeline.views.feature_matrix import MOMENT

HOUR = 3_600_000_000
HOURS_OPEN, HORIZON = 5, 8  # a label is known five hours after its decision, its returns eight


@dataclass
class Market:
    predictions: pl.DataFrame
    labels: pl.DataFrame
    truth: np.ndarray  # (n, 3) true probabilities
    models: tuple[str, ...] = ("good", "loud", "noise")


@pytest.fixture(scope="session")
def market() -> Callable[..., Market]:
    from quant_pipeline.ensemble.oof import oof_frame

    def make(rows: int = 1_500, *, folds: int = 5, signal: float = 0.8, seed: int = 0) -> Market:
        rng = np.random.default_rng(seed)
        direction, activity = signal * rng.normal(size=(2, rows))
        logits = np.column_stack([activity - direction, np.zeros(rows), activity + direction])
        truth = softmax(logits)
        label = ((rng.random((rows, 1)) > truth.cumsum(axis=1)).sum(axis=1) - 1).astype(np.int8)
        at = pl.Series("decision_at", np.arange(rows) * HOUR).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(MOMENT)
        forward = 0.01 * label + 0.003 * rng.normal(size=rows)
        labels = pl.DataFrame({
            "timestamp": at.dt.offset_by("-1h"), "decision_at": at, "label": label,
            "label_end": at.dt.offset_by(f"{HOURS_OPEN}h"), "horizon_end": at.dt.offset_by(f"{HORIZON}h"),
            "forward_return": forward, "long_return": forward - 0.001, "short_return": -forward - 0.001,
        })  # fmt: skip
        wild = 1.5 * rng.normal(size=(rows, 3))
        answers = {"good": truth, "loud": softmax(3 * logits + wild), "noise": softmax(wild)}
        fold = np.repeat([f"fold_{k:02d}" for k in range(folds)], -(-rows // folds))[:rows]
        frames = []
        for name, raw in answers.items():
            p = floored(raw)
            whole = Prediction(at, p[:, 0], p[:, 1], p[:, 2], up_probability(p), 0.01 * (p[:, 2] - p[:, 0]))
            frame = oof_frame(whole, timestamp=labels["timestamp"], fold="", model=name)
            frames.append(frame.with_columns(fold=pl.Series(fold)))
        return Market(pl.concat(frames), labels, truth)

    return make
