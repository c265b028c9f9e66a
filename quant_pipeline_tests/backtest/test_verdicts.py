"""Verdicts follow the interval, never the value alone."""

from __future__ import annotations

import polars as pl
import pytest

from quant_pipeline.backtest.verdicts import models, number, share, tone, verdicts
from quant_pipeline.validation.skill_table import SCHEMA


def make_row(
    metric: str, low: float | None, value: float, high: float | None, chance: float | None, **more: object
) -> dict[str, object]:
    row = {"model": "m", "kind": "model", "fold": "all", "metric": metric, "rows": 900, "blocks": 60.0, "looks": 1}
    return row | {"value": value, "low": low, "high": high, "chance": chance} | more


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (make_row("ic", 0.01, 0.03, 0.05, 0.0), "above"),
        (make_row("ic", -0.01, 0.03, 0.05, 0.0), "chance"),
        (make_row("ic", -0.05, -0.03, -0.01, 0.0), "below"),
        (make_row("log_loss", 1.00, 1.01, 1.02, 1.05), "above"),
        (make_row("log_loss", 1.06, 1.07, 1.08, 1.05), "below"),
        (make_row("log_loss", 1.04, 1.07, 1.08, 1.05), "chance"),
        (make_row("ic", None, 0.9, None, 0.0), "chance"),
        (make_row("ece", 0.01, 0.02, 0.03, None), "chance"),
        (make_row("auc", 0.6, 0.6, 0.6, 0.5), "chance"),  # an interval of no width is a constant, not certainty
    ],
)
def test_tone_needs_the_whole_interval_on_one_side(row: dict[str, object], wanted: str) -> None:
    assert tone(row) == wanted


def test_numbers_carry_the_digits_and_sign_of_their_metric() -> None:
    assert number(-0.01234, "ic") == "\N{MINUS SIGN}0.012"
    assert number(1.09861, "log_loss") == "1.0986"
    assert number(0.5, "auc") == "0.500"
    assert number(None, "ic") == "\N{EN DASH}"


def test_sentences_hold_the_figures() -> None:
    rows = [
        make_row("ic", -0.021, 0.004, 0.031, 0.0, naive=0.011, naive_model="naive: momentum"),
        make_row("log_loss_gain", 0.011, 0.0120, 0.013, 0.0),
        make_row("direction_gain", -0.002, -0.001, 0.001, 0.0),
        make_row("activity_gain", 0.012, 0.0130, 0.014, 0.0),
        make_row("net_return", -0.08, -0.013, 0.05, 0.0, naive=0.04, naive_model="buy and hold"),
        make_row("ic", 0.01, 0.06, 0.11, 0.0, fold="holdout", looks=3),
        make_row("net_return", 0.0, 0.0, 0.0, 0.0, model="ensemble", naive=-0.02, naive_model="buy and hold"),
        make_row(
            "ic", 0.02, 0.04, 0.06, 0.0, model="ensemble", reachable=0.05, share_of_reachable=0.8, share_low=0.5, share_high=1.1
        ),
    ]
    table = pl.DataFrame(rows, schema=SCHEMA)
    assert models(table) == ["ensemble", "m"]
    stack, mine = verdicts(table, 0.95)
    assert (stack.tone, stack.headline) == ("above", "direction above chance; no trade asked for")
    assert "80% of the best reachable rank IC (+0.050) of this simulated market (50% to 110%)" in " ".join(stack.sentences)
    assert stack.sentences[1] == "It never asked for a trade; buy and hold \N{MINUS SIGN}2.0%."
    text = " ".join(mine.sentences)
    assert mine.headline.startswith("direction indistinguishable from chance; what it earned, followed, is not distinguishable")
    assert "rank IC +0.004, 95% interval \N{MINUS SIGN}0.021 to +0.031, which holds 0" in text
    assert mine.sentences[0].startswith("Does not tell up from down")  # whatever its other figures say
    plain = [sentence.replace("\N{MINUS SIGN}", "-") for sentence in mine.sentences]
    assert plain[1] == (
        "Followed, it lost 1.3% net of costs (-8.0% to +5.0%), not distinguishable from doing nothing; buy and hold +4.0%."
    )
    assert plain[-1] == (
        "Log-loss gain +0.0120 (+0.0110 to +0.0130) nats: -0.0010 (-0.0020 to +0.0010) by direction, "
        "+0.0130 (+0.0120 to +0.0140) by activity; it knows calm hours from wild ones, which says nothing of up or down."
    )
    assert not any("above chance" in sentence for sentence in mine.sentences if "activity" in sentence)
    assert "momentum) has +0.011" in text
    held = "On the holdout (use 3 of this span, so widened to hold 95% over all): rank IC +0.060 (+0.010 to +0.110)"
    assert f"{held}, direction above chance." in text
    assert [found for found, _ in mine.marks] == ["chance", "chance", "above"]  # no money was counted on the holdout
    assert mine.marks[-1][1] == "on the holdout: direction above chance"


@pytest.mark.parametrize(
    ("money", "tone_of_both", "words"),
    [
        ((-0.4, -0.27, -0.1), "below", "direction above chance; followed, it lost money"),
        ((-0.4, -0.27, 0.1), "chance", "direction above chance; what it earned, followed, is not distinguishable from nothing"),
        ((0.1, 0.2, 0.3), "above", "direction above chance; followed, it earned more than its costs"),
    ],
)
def test_direction_above_chance_that_loses_money_is_not_shown_as_good(money, tone_of_both, words) -> None:
    low, value, high = money
    rows = [make_row("ic", 0.01, 0.03, 0.05, 0.0), make_row("net_return", low, value, high, 0.0, naive=0.1)]
    (told,) = verdicts(pl.DataFrame(rows, schema=SCHEMA), 0.95)
    assert (told.tone, told.headline, told.span) == (tone_of_both, words, "out of fold")
    more = [make_row("ic", -0.2, 0.1, 0.3, 0.0, fold="holdout"), make_row("net_return", low, value, high, 0.0, fold="holdout")]
    (both,) = verdicts(pl.DataFrame([*rows, *more], schema=SCHEMA), 0.95)
    assert [found for found, _ in both.marks] == ["above", told.marks[1][0], "chance", told.marks[1][0]]
    assert [found for found, _ in told.marks] == ["above", "above" if low > 0 else "below" if high < 0 else "chance"]


def test_more_than_all_of_the_reachable_is_explained() -> None:
    row = make_row("ic", 0.01, 0.03, 0.05, 0.0, share_of_reachable=1.08, share_low=0.9, share_high=1.3)
    assert share(row) == "108% (90% to 130%); above 100% is the luck of this sample"
    assert share(row, " of best") == "108% of best (90% to 130%); above 100% is the luck of this sample"
    assert share({**row, "share_of_reachable": 0.8}) == "80% (90% to 130%)"
