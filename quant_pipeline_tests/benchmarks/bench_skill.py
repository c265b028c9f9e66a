"""1,000 block-bootstrap resamples of each skill metric over 5,000 rows, beside scikit-learn and scipy on the same resamples.

Run: python quant_pipeline_tests/benchmarks/bench_skill.py
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from scipy import stats
from sklearn import metrics as sk

from quant_pipeline.validation.bootstrap import block_bootstrap, block_counts
from quant_pipeline.validation.skill import METRICS, Forecasts

ROWS, RESAMPLES, PEER_RESAMPLES, BLOCK = 5_000, 1_000, 20, 25


def world() -> Forecasts:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([5, 5, 5], ROWS)
    returns = rng.standard_normal(ROWS) * 0.01
    label = rng.integers(-1, 2, ROWS).astype(np.int8)
    return Forecasts(p, label, returns, rng.standard_normal(ROWS))


PEERS = {
    "log_loss": lambda f, i: sk.log_loss(f.label[i], f.probabilities[i], labels=[-1, 0, 1]),
    "auc": lambda f, i: sk.roc_auc_score(f.label[i], f.probabilities[i], multi_class="ovr", labels=[-1, 0, 1]),
    "macro_f1": lambda f, i: sk.f1_score(f.label[i], f.probabilities[i].argmax(axis=1) - 1, average="macro"),
    "ic": lambda f, i: stats.spearmanr(f.score[i], f.forward_return[i])[0],
    "ic_pearson": lambda f, i: stats.pearsonr(f.score[i], f.forward_return[i])[0],
}


def peer_seconds(name: str, f: Forecasts) -> float:
    starts = np.random.default_rng(0).integers(0, ROWS, size=(PEER_RESAMPLES, ROWS // BLOCK))
    rows = [np.repeat(np.arange(ROWS), counts) for counts in block_counts(starts, ROWS, BLOCK)]
    began = time.perf_counter()
    for each in rows:
        PEERS[name](f, each)
    return (time.perf_counter() - began) / PEER_RESAMPLES * RESAMPLES


def main() -> None:
    f = world()
    print(f"{'metric':<16}{'ours, s':>10}{'peer, s':>10}{'ratio':>8}")
    for name, metric in METRICS.items():
        evaluate = partial(metric.evaluate, f)
        block_bootstrap(evaluate, ROWS, block=BLOCK, resamples=2)  # compile
        began = time.perf_counter()
        block_bootstrap(evaluate, ROWS, block=BLOCK, resamples=RESAMPLES)
        ours = time.perf_counter() - began
        peer = peer_seconds(name, f) if name in PEERS else None
        print(f"{name:<16}{ours:>10.3f}" + (f"{peer:>10.2f}{peer / ours:>8.0f}" if peer else f"{'':>10}{'':>8}"))


if __name__ == "__main__":
    main()
