"""Planted leaks: small functions that look into the future as people do by mistake, each with its honest twin.

`leak=True` makes the mistake, `leak=False` does the same thing rightly, with the pipeline's own function where there is
one. Every leak names the audit that must catch it; `uncaught()` runs them all, in tests and in `quant doctor`. An audit
that catches nothing proves nothing. This is the one table; the functions are in the modules of this folder, by theme.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from quant_pipeline.validation.leaks import cleaning, fits, future, structure, tables
from quant_pipeline.validation.leaks.bench import Planted, of_candles
from quant_pipeline.validation.leaks.fits import fitted, learned, predicted
from quant_pipeline.validation.leaks.future import left_out, refitted, understated
from quant_pipeline.validation.leaks.series import (
    CLOSE,
    FOUR_HOURS,
    SCORE,
    SMOOTH,
    SPREAD,
    SWING,
    decoded_regime,
    feature,
    filtered_regime,
    filtered_state,
    smoothed_regime,
    trailing_wavelet,
    whole_wavelet,
)
from quant_pipeline.validation.leaks.structure import marked, pattern_entered, swing_high, swing_price
from quant_pipeline.validation.leaks.tables import macro_joined
from quant_pipeline.validation.splits import FoldRows


@dataclass(frozen=True)
class Leak:
    """A planted leak: `find(leak=True)` must give faults of `audit`, `find(leak=False)` none."""

    name: str
    audit: str
    mistake: str
    find: Planted


def uncaught() -> list[str]:
    """Names of the leaks that their audit misses, or whose honest twin it accuses; empty when all audits work."""
    return [leak.name for leak in LEAKS if not _caught(leak)]


def _caught(leak: Leak) -> bool:
    return leak.audit in leak.find(leak=True)["audit"] and leak.find(leak=False).is_empty()


LEAKS = (
    Leak("future shift", "prefix", "a value shifted the wrong way", feature(CLOSE.shift(-1), CLOSE.shift(1))),
    Leak("centred window", "prefix", "a mean over both sides",
         feature(CLOSE.forward_fill().rolling_mean(5, center=True), CLOSE.forward_fill().rolling_mean(5))),
    Leak("unconfirmed swing", "prefix", "a swing high known at its extreme", feature(SWING, SWING.shift(2))),
    Leak("whole-series z-score", "prefix", "mean and deviation of all bars",
         feature((CLOSE - CLOSE.mean()) / CLOSE.std(), SCORE)),
    Leak("whole-series rank", "prefix", "rank among all bars", feature(CLOSE.rank(), CLOSE.rolling_rank(50, min_samples=1))),
    Leak("global min-max", "prefix", "extremes of all bars", feature(CLOSE / (CLOSE.max() - CLOSE.min()), CLOSE / SPREAD)),
    Leak("backward fill", "prefix", "holes filled with the next value", feature(CLOSE.backward_fill(), CLOSE.forward_fill())),
    Leak("interpolation", "prefix", "holes filled between both sides", feature(CLOSE.interpolate(), CLOSE.forward_fill())),
    Leak("filtfilt", "prefix", "a filter run forward and backward",
         feature(SMOOTH.reverse().ewm_mean(alpha=0.2).reverse(), SMOOTH)),
    Leak("forming bar", "prefix", "the high of a four-hour bar before the bar has ended",
         feature(CLOSE.max().over(FOUR_HOURS), CLOSE.cum_max().over(FOUR_HOURS))),
    Leak("whole-series wavelet", "prefix", "one transform of all bars", of_candles(whole_wavelet, trailing_wavelet)),
    Leak("smoothed regime", "prefix", "predict_proba of a hidden Markov model", of_candles(smoothed_regime, filtered_regime)),
    Leak("decoded regime", "prefix", "the likeliest path through all bars", of_candles(decoded_regime, filtered_state)),
    Leak("pattern at its pivot", "prefix", "a pattern entered at its last extreme, before the breakout that confirms it",
         of_candles(pattern_entered("pivot_at"), pattern_entered("known_at"))),
    Leak("zigzag at its extremes", "prefix", "swings known at the bar of the extreme",
         of_candles(swing_price(lambda pivots: pivots.bar), swing_price(lambda pivots: pivots.known))),
    Leak("open leg of the zigzag", "prefix", "the extreme that no reversal has confirmed yet",
         of_candles(structure.open_leg, swing_price(lambda pivots: pivots.known))),
    Leak("centred swing high", "prefix", "structure on swings of a window centred on them",
         of_candles(swing_high(confirmed=False), swing_high(confirmed=True))),
    Leak("fair value gap at its middle bar", "prefix", "a gap marked before its third bar", marked(structure.fair_value_gaps)),
    Leak("order block at its candle", "prefix", "a block marked before the close that moves away", marked(structure.blocks)),
    Leak("mitigated zones removed", "prefix", "gaps that a later bar will touch left out from the start",
         of_candles(structure.lasting_gaps, structure.open_gaps)),
    Leak("volume judged by the whole file", "prefix", "zero volume kept or nulled by what later rows have",
         cleaning.cleaned(cleaning.unmeasured_at_first, cleaning.null_unless_ever_measured)),
    Leak("split divided out of the past", "prefix", "prices before a split adjusted for it before it came",
         cleaning.cleaned(cleaning.split_unadjusted, cleaning.divided_before_the_split, cleaning.DECLARED)),
    Leak("revised macro value", "prefix", "the last revision at the date of the first release", tables.revised_macro),
    Leak("newest macro vintage", "prefix", "the last revision on the date of its period",
         macro_joined(tables.newest_vintage_by_period)),
    Leak("macro value on its period", "prefix", "a first release on the date that it describes",
         macro_joined(tables.first_vintage_by_period)),
    Leak("news of the day", "prefix", "articles joined on their day, those of its rest included", tables.news_of_the_day),
    Leak("news before it was known", "prefix", "articles joined on their publication, before they were collected",
         tables.news_when_published),
    Leak("other market at its open", "prefix", "another symbol's bar joined on its opening time",
         tables.other_market_at_its_open),
    Leak("bar known at its open", "as-of", "label=left read as the time a bar is known", tables.bar_known_at_its_open),
    Leak("label as a feature", "as-of", "a label used before its window has ended", tables.label_as_a_feature),
    Leak("scaler on all rows", "scaler", "scaling fitted before the split", fitted(fits.scaling)),
    Leak("target encoding on all rows", "scaler", "category means with the targets to be predicted", fitted(fits.encoding)),
    Leak("selection on all rows", "scaler", "features chosen by their correlation with the whole target", fitted(fits.selection)),
    Leak("regimes on all rows", "scaler", "a hidden Markov model fitted beyond the training rows", fitted(fits.regimes)),
    Leak("early stopping on the OOF block", "scaler", "the block to be predicted chooses the round", fits.early_stopping),
    Leak("unpurged label", "split", "training labels that end inside the block",
         learned(lambda rows: FoldRows(np.arange(rows.oof[0]), rows.valid[:0], rows.oof))),
    Leak("embargo ignored", "split", "training rows right beside the block", learned(fits.purged_only)),
    Leak("shuffled k-fold", "split", "rows dealt at random", learned(fits.shuffled)),
    Leak("unpurged inner validation", "split", "training labels that end inside the early-stopping rows",
         learned(lambda rows: FoldRows(np.arange(rows.valid[0]), rows.valid, rows.oof))),
    Leak("row from its own fold", "oof", "an in-sample prediction as an out-of-fold one", predicted(lambda rows: rows.train)),
    Leak("row predicted twice", "oof", "overlapping blocks", predicted(lambda rows: np.append(rows.oof, rows.oof[-1]))),
    Leak("rows before a pause left out", "truncation", "a decision dropped because the market rests after it",
         left_out(pl.col("rest_until") - pl.col("decision_at") > timedelta(hours=3))),
    Leak("rows with small moves left out", "truncation", "a decision dropped by the move that followed",
         left_out(pl.col("forward_return").abs() < future.LITTLE)),
    Leak("understated label_end", "truncation", "a label said to be known two hours early",
         understated("label_end", timedelta(hours=2))),
    Leak("understated horizon_end", "truncation", "a return said to be known two hours early",
         understated("horizon_end", timedelta(hours=2))),
    Leak("rows chosen by their outcome", "truncation", "only labels that hit a barrier are scored", future.rows_that_won),
    Leak("barriers tuned on all bars", "truncation", "the blocks to be predicted choose the barriers", future.tuned),
    Leak("whole-sample median fill", "truncation", "holes of training rows filled by later rows", refitted(future.median_fill)),
    Leak("length of the data in a seed", "truncation", "a draw that tells how much data follows", refitted(future.seeded)),
    Leak("weights scaled by all rows", "truncation", "sample weights over a mean with the holdout", refitted(future.weighed)),
    Leak("threshold chosen with the holdout", "truncation", "the final span chooses when to trade", refitted(future.threshold)),
    Leak("returns before their horizon", "truncation", "payoffs of labels that ended, whose returns are still open",
         future.open_returns),
)  # fmt: skip
