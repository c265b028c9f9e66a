"""What `quant run` ends with: direction and money in one sentence, the signal, and the next step."""

from __future__ import annotations

import pytest

from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.closing import closing, signal_sentence
from quant_pipeline.orchestration.showing import asked_signal, skill_table

SYMBOL = "BTC-USD"


def test_a_run_ends_with_three_sentences_and_a_training_with_two(trained_home):
    house = trained_home.house()
    verdict, signal, after = (text.plain for text in closing(house, SYMBOL, signal=True))
    assert verdict.startswith("BTC-USD (SIMULATED market), out of fold: the ensemble has direction ")
    assert "95 % interval" in verdict
    assert "where 0 is chance and +1 perfect" in verdict
    assert "buy and hold" in verdict
    assert "ts rule for signals" in verdict
    assert signal.startswith("Signal: ")
    assert "2026-11-18 10:00 UTC" in signal
    assert "`quant report 'BTC-USD'`" in after
    page, address = after.splitlines()[1:]
    assert page.endswith("skill_report.html")
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("skill_report.html (while `quant ui` runs)")
    assert [text.plain for text in closing(house, SYMBOL, signal=False)][1].startswith("Next: `quant predict 'BTC-USD'`")


def test_good_direction_over_lost_money_is_not_green(trained_home, monkeypatch):
    import polars as pl

    from quant_pipeline.orchestration import closing as module

    def table(value: float, low: float, high: float) -> pl.DataFrame:
        metric, known = pl.col("metric"), skill_table(trained_home.house(), SYMBOL)
        money = metric == "net_return"
        paid = {"value": value, "low": low, "high": high}
        good = {"value": 0.1, "low": 0.05, "high": 0.15}
        return known.with_columns(
            pl.when(money).then(pl.lit(paid[name])).when(metric == "ic").then(pl.lit(good[name])).otherwise(name).alias(name)
            for name in paid
        )

    for figures, colour in (((-0.27, -0.4, -0.1), "red"), ((-0.01, -0.1, 0.1), "yellow"), ((0.1, 0.05, 0.2), "green")):
        monkeypatch.setattr(module, "skill_table", lambda *_, figures=figures: table(*figures))
        first = closing(trained_home.house(), SYMBOL, signal=False)[0]
        assert first.style == colour
        assert "direction above chance" in first.plain


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"status": "stale", "action": 0, "position_size": 0.0}, "status stale: "),
        ({"action": 0, "position_size": 0.0, "equity_share": 0.0}, "Signal: HOLD BTC-USD (SIMULATED)"),
        ({"action": 1, "position_size": 0.5, "equity_share": 0.042}, "at the open of 10:00 UTC with 4.2% of equity"),
        ({"action": -1, "position_size": 0.5, "equity_share": 0.042}, "Signal: SELL"),
    ],
)
def test_each_kind_of_signal_is_said_in_words(trained_home, changed, words):
    made = asked_signal(trained_home.house(), SYMBOL).model_dump()
    assert words in signal_sentence(Signal(**{**made, **changed})).plain
