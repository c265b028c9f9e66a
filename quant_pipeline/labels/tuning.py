"""Barrier tuning: Optuna's TPE over the two barriers and the horizon, on training rows only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.errors import DataError
from quant_pipeline.labels.triple_barrier import lay_course, walk

if TYPE_CHECKING:
    from datetime import datetime

    from quant_pipeline.config.universe import Costs
    from quant_pipeline.labels.barriers import Course

Progress = Callable[[int, int, float], None]
"""Called after each trial with trials done, trials in all, and the best score so far."""

ATR_STEP = 0.1  # finer barriers are within the noise of the ATR itself
ATR_RANGE = (0.5, 4.0)
FEWEST_ROWS = 100  # with fewer, class shares are known to no better than +-0.1
_CLASSES = 3


def tune_barriers(
    primary: pl.DataFrame,
    path: pl.DataFrame,
    settings: LabelSettings,
    costs: Costs,
    *,
    until: datetime,
    seed: int,
    progress: Progress | None = None,
) -> LabelSettings:
    """The settings with the `tp_atr`, `sl_atr` and `max_bars` that score best in `settings.tune_trials` trials.

    Searches tp_atr and sl_atr in 0.5 … 4.0 by 0.1, and max_bars from 2 to twice the given horizon; the given settings
    are the first trial, so the result never scores below them. Score: see `barrier_score`. Same bars, settings and
    seed give the same result. `tune_trials=0` returns the settings as they are.

    Args:
        primary: RUNG bars of the samples.
        path: RUNG bars that resolve the barriers.
        settings: where to start, and the trials, ATR period and side to use.
        costs: of the symbol.
        until: end of the training span. Bars known later are cut off first, so no label that ends later is looked at;
            every trial is judged on the same rows, those whose longest window ends by then.
        seed: of the sampler.
        progress: called after each trial.

    Raises:
        DataError: fewer than 100 rows are left before `until`.
    """
    if not settings.tune_trials:
        return settings
    longest = max(2, 2 * settings.max_bars)
    known = pl.col("known_at") <= until
    bars, steps = primary.filter(known), path.filter(known)
    _enough(min(bars.height, steps.height) - settings.atr_period - longest, until)
    course = lay_course(bars, steps, settings.atr_period)
    last_row = course.covered - 1 - longest
    _enough(last_row - settings.atr_period + 1, until)

    def score(trial: Any) -> float:
        return score_barriers(course, _suggest(trial, settings, longest), costs, last_row)

    return _with(settings, _search(score, settings, longest, seed, progress))


def score_barriers(course: Course, settings: LabelSettings, costs: Costs, last_row: int) -> float:
    """`barrier_score` of the labels that `settings` give on the primary bars up to index `last_row`."""
    out = walk(course, settings, costs)
    kept = int(np.searchsorted(out.row, last_row, side="right"))
    row, label = out.row[:kept], out.label[:kept]
    loser = 0.0 if settings.side == "long" else out.short_return[:kept]
    gain = np.where(label > 0, out.long_return[:kept], np.where(label < 0, loser, 0.0))
    risk = settings.sl_atr * course.atr[row] / course.path.open[out.entry[:kept]]
    held = np.searchsorted(course.closes_at, out.label_end[:kept]) - row
    return barrier_score(label, gain / risk, held)


def barrier_score(label: npt.NDArray[np.int8], reward: npt.NDArray[np.float64], held: npt.NDArray[np.int64]) -> float:
    """Score in [0, 1] of a labelling: class balance times worth.

    balance = entropy of the class shares / ln 3: 1 when the three classes are equally common, 0 when there is one.
    worth = p / (1 + p), with p = mean(reward) / sqrt(mean(held)): the net profit of the trade that each label stands
    for, in units of what its stop would lose, over the square root of the bars until the label is known (prices
    spread with the square root of time, so a longer wait has to earn more).

    Args:
        label: classes -1, 0, 1, (n,).
        reward: net profit / net loss at the stop, (n,); 0 where the label stands for no trade.
        held: primary bars from decision to `label_end`, (n,).
    """
    if not label.size:
        return 0.0
    share = np.bincount(label + 1, minlength=_CLASSES) / label.size
    share = share[share > 0]
    balance = -float((share * np.log(share)).sum()) / np.log(_CLASSES)
    payoff = max(float(reward.mean()), 0.0) / max(float(held.mean()), 1.0) ** 0.5
    return float(balance * payoff / (1 + payoff))


def _suggest(trial: Any, settings: LabelSettings, longest: int) -> LabelSettings:
    low, high = ATR_RANGE
    return _with(
        settings,
        {
            "tp_atr": trial.suggest_float("tp_atr", low, high, step=ATR_STEP),
            "sl_atr": trial.suggest_float("sl_atr", low, high, step=ATR_STEP),
            "max_bars": trial.suggest_int("max_bars", 2, longest),
        },
    )


def _search(
    score: Callable[[Any], float], settings: LabelSettings, longest: int, seed: int, progress: Progress | None
) -> dict[str, Any]:
    import optuna

    total = settings.tune_trials
    with _silent(optuna):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial(_inside(settings, longest))
        report = [lambda study, trial: progress(trial.number + 1, total, study.best_value)] if progress else None
        study.optimize(score, n_trials=total, callbacks=report)
    return dict(study.best_params)


def _inside(settings: LabelSettings, longest: int) -> dict[str, float]:
    """The given barriers, moved onto the nearest point of the search grid."""
    on_grid = {name: round(float(np.clip(getattr(settings, name), *ATR_RANGE)), 1) for name in ("tp_atr", "sl_atr")}
    return {**on_grid, "max_bars": int(np.clip(settings.max_bars, 2, longest))}


def _with(settings: LabelSettings, found: dict[str, Any]) -> LabelSettings:
    rounded = {name: round(value, 6) for name, value in found.items()}
    return LabelSettings.parse({**settings.model_dump(), **rounded}, "tuned barriers")


@contextlib.contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _enough(rows: int, until: datetime) -> None:
    if rows < FEWEST_ROWS:
        raise DataError(
            f"barrier tuning until {until:%Y-%m-%d %H:%M}",
            found=f"{max(rows, 0)} training rows",
            wanted=f"at least {FEWEST_ROWS}",
            mend="give more history, or set labels.tune_trials: 0",
        )
