"""The report page: self-contained, deterministic, and no value without its interval, chance and naive."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from PIL import Image

from quant_pipeline.backtest.money import HOLD
from quant_pipeline.backtest.skill_report import ReportInputs, SkillReport, prepare, render
from quant_pipeline.backtest.verdicts import verdicts
from quant_pipeline.config.universe import Costs
from quant_pipeline.validation.paths import path_rows, paths
from quant_pipeline.validation.skill_table import TableSettings, skill_table

COSTS = Costs(fee_bps=2)
FAST = TableSettings(resamples=100, level=0.99)


def inputs_of(market, **changes: object) -> ReportInputs:
    known = {
        "predictions": market.predictions, "labels": market.labels, "splits": market.splits, "bars": market.bars, "costs": COSTS,
        "symbol": "GC=F", "simulated": True, "oracle": market.oracle, "facts": {"Experiment": "default"}, "settings": FAST,
    }  # fmt: skip
    return prepare(**(known | changes))


@pytest.fixture(scope="module")
def inputs(market) -> ReportInputs:
    return inputs_of(market)


@pytest.fixture(scope="module")
def report(inputs) -> SkillReport:
    return render(inputs)


@pytest.fixture(scope="module")
def page(report) -> str:
    return report.html


def test_a_long_title_of_the_summary_is_not_cut_off(inputs):
    picture = np.asarray(Image.open(io.BytesIO(render(replace(inputs, symbol="long" * 20)).png)).convert("L"))
    assert (picture[:100, :-20] < 200).any()
    assert (picture[:100, -20:] > 250).all()


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    pictures = re.findall(r'src="([^"]*)"', page)
    assert len(pictures) == 6
    for picture in pictures:
        assert picture.startswith("data:image/png;base64,")
        assert base64.b64decode(picture.split(",")[1]).startswith(b"\x89PNG")
    assert not re.search(r"\$\w|\bnan\b|None", re.sub(r'src="[^"]*"', "", page))


def test_equal_inputs_give_equal_bytes(market, report) -> None:
    again = render(inputs_of(market))
    assert again.html == report.html
    assert again.png == report.png
    assert again.png.startswith(b"\x89PNG")
    assert b"tEXt" not in again.png  # no date, no version


def test_no_value_stands_without_interval_chance_and_naive(page: str) -> None:
    cells = re.findall(r'<td><b class="\w+">(.*?)</td>', page)
    assert len(cells) > 200
    for cell in cells:
        assert re.search(r'<small class="interval">.* to .*</small>', cell), cell
        assert "chance" in cell or "doing nothing" in cell or "0 is perfect" in cell, cell
    for row in re.findall(r'<tr class="model">(.*?)</tr>', page):
        figures = re.findall(r'<td><b class="\w+">(.*?)</td>', row)
        for cell in figures[:-1] if "ensemble" in row else figures:  # its last is of expected returns, which no naive model has
            assert "naive" in cell or "holding" in cell, cell


def test_simulated_market_says_so_loudly_and_shows_the_reachable(market, page: str) -> None:
    assert page.index("SIMULATED MARKET") < page.index("<h1>")
    assert "of the best reachable rank IC" in page
    real = render(inputs_of(market, simulated=False, oracle=None)).html
    assert "SIMULATED" not in real
    assert "reachable" not in real.lower().split("</style>")[1]


def test_verdicts_of_a_planted_and_of_a_null_market(page: str, null_market) -> None:
    assert re.search(r'ensemble: <span class="tone above">direction above chance</span>', page)
    assert re.search(r'xgboost: <span class="tone chance">direction indistinguishable from chance</span>', page)
    null = render(inputs_of(null_market, oracle=None, simulated=False)).html
    assert len(re.findall(r': <span class="tone chance">direction indistinguishable from chance</span></h3>', null)) == 4
    assert len(re.findall(r'<div><span class="tone \w+">on the holdout: direction ', null)) == 4


def test_direction_and_money_come_first_and_only_they_are_coloured(page: str) -> None:
    table = page[page.index("<h2>Skill, pooled") :]
    first, rest = ([*re.findall(r"<th>([^<]+)<small>", head)] for head in re.findall(r"<thead>.*?</thead>", table)[:2])
    assert first[:4] == ["IC, rank", "AUC, long vs short", "Direction gain", "Net return"]
    assert rest[:2] == ["Activity gain", "Log-loss gain"]
    direction, others = re.findall(r'<tr class="model"><th>ensemble.*?</tr>', table)[:2]
    assert re.findall(r'<td><b class="(\w+)">', direction)[:3] == ["above"] * 3
    assert set(re.findall(r'<td><b class="(\w+)">', others)) == {"unjudged"}
    assert "<small>doing nothing +0.0%</small><small>holding" in direction
    folds = page[page.index("<h2>Skill, fold by fold") :]
    for fold in re.findall(r"<details><summary>fold_.*?</details>", folds, re.DOTALL):
        assert set(re.findall(r'<td><b class="(\w+)">', fold)) == {"unjudged"}
    assert '<tr class="naive"><th>naive: activity of ensemble' in table
    assert '<tr class="naive"><th>buy and hold' in table


def test_a_model_of_activity_alone_is_told_no_direction_first(null_market) -> None:
    """It knows which hours will move and nothing of where: the gain is real, and nowhere called skill."""
    moved = null_market.labels.select("decision_at", moved=pl.col("label") != 0)
    rows = null_market.predictions.filter(pl.col("model") == "lightgbm").join(moved, on="decision_at", maintain_order="left")
    side, moves = pl.col("p_long") / (pl.col("p_long") + pl.col("p_short")), pl.when("moved").then(0.8).otherwise(0.3)
    told = rows.with_columns(p_long=side * moves, p_short=(1 - side) * moves, p_neutral=1 - moves).drop("moved")
    inputs = inputs_of(null_market, predictions=told, oracle=None, simulated=False)
    (said,) = verdicts(inputs.table, FAST.level)
    assert said.tone == "chance"
    assert said.sentences[0].startswith("Does not tell up from down")
    assert "says nothing of up or down" in said.sentences[-1]
    gain = inputs.table.filter(metric="log_loss_gain", kind="model", fold="all").row(0, named=True)
    assert gain["low"] > 0.1
    assert not any("above chance" in sentence for sentence in said.sentences)
    assert 'class="above"' not in render(inputs).html


def test_every_use_of_the_holdout_widens_it_and_is_told(market, page: str) -> None:
    once, often = inputs_of(market), inputs_of(market, test_uses=4)
    assert "has been used for the first time" in page
    assert "has been used 4 times, each by another bundle" in render(often).html
    for metric in ("ic", "net_return"):
        mine = {"metric": metric, "fold": "holdout", "model": "ensemble"}
        narrow, wide = (each.table.filter(**mine).row(0, named=True) for each in (once, often))
        assert wide["low"] < narrow["low"] < narrow["value"] == wide["value"] < narrow["high"] < wide["high"]
    pool = [each.table.filter(pl.col("fold") != "holdout") for each in (once, often)]
    assert pool[0].equals(pool[1])


def test_money_is_the_return_of_the_span_beside_holding(inputs) -> None:
    table, first = inputs.table, inputs.rows.filter(pl.col("fold") == "holdout")["decision_at"].min()
    for name, backtest in {**inputs.backtests, HOLD: inputs.hold}.items():
        before = backtest.equity.filter(pl.col("timestamp") < first)["net"][-1]
        found = dict(table.filter(metric="net_return", model=name).select("fold", "value").iter_rows())
        assert found["all"] == pytest.approx(before - 1)
        assert found["holdout"] == pytest.approx(backtest.equity["net"][-1] / before - 1)
    rows = table.filter(metric="net_return", kind="model", fold="all")
    held = table.filter(metric="net_return", model=HOLD, fold="all")["value"][0]
    assert rows["naive"].to_list() == [held] * rows.height
    assert rows["chance"].to_list() == [0.0] * rows.height
    assert (rows["low"] < rows["value"]).all()


def test_every_line_covers_one_common_span(inputs) -> None:
    starts = {name: each.equity["timestamp"][0] for name, each in inputs.backtests.items()}
    first = inputs.rows.filter(pl.col("model") == "ensemble")["decision_at"].min()
    assert set(starts.values()) == {inputs.hold.equity["timestamp"][0]} == {first}
    assert inputs.hold.equity["known_at"][-1] <= inputs.rows["label_end"].max()
    assert list(inputs.statistics) == [*inputs.backtests, HOLD]
    bars = inputs.hold.equity
    assert inputs.statistics[HOLD].trades == 1
    assert bars["gross"][-1] == pytest.approx(1 + inputs.hold.trades["gross_return"][0])


def test_own_decisions_may_be_given(market) -> None:
    def idle(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select("decision_at", action=pl.lit(0), size=pl.lit(0.0))

    long = market.labels.select("decision_at", action=pl.lit(1), size=pl.lit(1.0))
    mine = inputs_of(market, decide=idle, policy="Never trades", strategies={"signals": long})
    assert list(mine.backtests) == ["ensemble", "lightgbm", "logistic", "xgboost", "signals"]
    assert [each.trades.height for each in mine.backtests.values()] == [0, 0, 0, 0, 1]
    assert mine.backtests["signals"].equity["net"].equals(mine.hold.equity["net"])
    assert mine.policy.startswith("Never trades. Filled at the next open, a round trip costs 0.04%")


def test_only_a_holdout_and_a_constant_model_still_make_a_page(market) -> None:
    held = market.predictions.filter(pl.col("fold") == "holdout", pl.col("model") == "lightgbm")
    constant = held.with_columns(model=pl.lit("<flat>"), p_short=0.3, p_neutral=0.4, p_long=0.3)
    page = render(inputs_of(market, predictions=pl.concat([held, constant]), symbol="A&B")).html
    assert "Skill report: A&amp;B" in page
    assert "&lt;flat&gt;" in page
    assert "<flat>" not in page
    assert "Direction cannot be judged" in page


def test_models_that_saw_the_future_are_scored_but_earn_only_on_the_holdout(market) -> None:
    made = inputs_of(market, walk_forward=False, oracle=None)
    start = market.predictions.filter(pl.col("fold") == "holdout")["decision_at"].min()
    for line in (*made.backtests.values(), made.hold):
        assert line.equity["timestamp"][0] >= start
    assert all(line.trades["entry_at"].min() >= start for line in made.backtests.values() if line.trades.height)
    table = skill_table(market.predictions, market.labels, settings=FAST, around=True)
    money = pl.col("metric") != "net_return"
    assert made.table.filter(money).equals(table.filter(money))
    assert {"all", "fold_01", "holdout"} <= set(made.table.filter(pl.col("model") == "ensemble")["fold"])


def test_the_spread_over_paths_is_shown_beside_the_pool(market, inputs) -> None:
    told = paths(market.predictions)  # one fold a row: one path
    page = render(replace(inputs, table=pl.concat([inputs.table, path_rows(told, market.labels)]))).html
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "The 1 paths of combinatorial" in page
    assert "<summary>path_00" not in page
    assert "Skill over paths" not in render(inputs).html
