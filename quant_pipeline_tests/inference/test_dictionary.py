"""The dictionary page: whole, self-contained, right in its figures, and marked where a column is worth a look."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import DriftSettings, load_experiment
from quant_pipeline.errors import DataError
from quant_pipeline.features.glossary import Entry, entries
from quant_pipeline.inference.dictionary import SCHEMA, Dictionary, render_dictionary
from quant_pipeline.monitoring.drift import psi

ROWS = 2_000
DRIFT = DriftSettings(recent_bars=400)
EXPERIMENT = load_experiment("default")


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    start = datetime(2025, 3, 3, tzinfo=UTC)
    at = pl.datetime_range(start, start + timedelta(hours=ROWS), "1h", time_unit="us", closed="left", eager=True)
    steady = rng.normal(50, 10, ROWS)
    moved = np.where(np.arange(ROWS) < ROWS - 400, rng.normal(0, 1, ROWS), rng.normal(4, 1, ROWS))
    warm = [None if k < 100 else float(v) for k, v in enumerate(steady)]
    patchy = [None if k % 10 == 0 and k else float(v) for k, v in enumerate(steady)]
    return pl.DataFrame({
        "timestamp": at, "decision_at": at.dt.offset_by("1h"), "rsi_1m": steady, "rsi_1h": warm, "macd_1h": moved,
        "candle_doji_detected_1h": np.full(ROWS, 0.1), "hour_sin": np.arange(ROWS) / ROWS, "macro_cpi_yoy": patchy,
        "news_age": pl.Series([None] * ROWS, dtype=pl.Float64),
    })  # fmt: skip


def _render(features: pl.DataFrame, **changes: object) -> Dictionary:
    told = entries(EXPERIMENT, features.columns, ())
    known = {"symbol": "GC=F", "simulated": True, "facts": {"experiment": "default"}}
    return render_dictionary(features, told, DRIFT, **(known | changes))


@pytest.fixture(scope="module")
def made(features) -> Dictionary:
    return _render(features)


@pytest.fixture(scope="module")
def rows(made) -> dict[str, dict]:
    return {row["column"]: row for row in made.table.iter_rows(named=True)}


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"]] if found.get("href") else []
        if tag not in {"meta", "input", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def parsed(made) -> Balance:
    parser = Balance()
    parser.feed(made.html)
    return parser


def test_the_page_is_whole_and_needs_nothing_else(made, parsed):
    assert parsed.open == []
    assert not re.search(r'(src|href)="(?!#)', made.html)
    assert "@import" not in made.html
    assert "http" not in made.html


def test_every_link_has_its_target_and_every_column_its_row(features, parsed):
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert set(features.columns[2:]) <= set(parsed.ids)


def test_words_of_each_feature_are_there_once(made):
    assert made.html.count("Relative strength index, 14 bars") == 1
    assert "known: close of the bar that confirms it" in made.html
    assert "SIMULATED MARKET" in made.html
    assert "7 columns of 6 features in 5 families; 2,000 decisions, 03 Mar 2025 to 25 May 2025 UTC" in made.html


def test_a_real_market_is_not_called_simulated(features):
    assert "SIMULATED" not in _render(features, simulated=False).html


def test_figures_are_those_of_the_values(features, rows):
    values = features["rsi_1m"].to_numpy()
    row = rows["rsi_1m"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std())
    assert [row[name] for name in ("least", "q01", "median", "q99", "most")] == pytest.approx(
        np.quantile(values, [0, 0.01, 0.5, 0.99, 1]).tolist()
    )


def test_a_warm_up_is_no_gap_and_a_hole_is(rows, made):
    assert (rows["rsi_1h"]["coverage"], rows["rsi_1h"]["gaps"]) == (0.95, 0.0)
    assert rows["macro_cpi_yoy"]["gaps"] == pytest.approx(199 / 2_000)
    assert (rows["news_age"]["coverage"], rows["news_age"]["gaps"], rows["news_age"]["mean"]) == (0.0, 1.0, None)
    flagged = dict(re.findall(r'<tr id="([^"]+)" data-flags="([^"]*)"', made.html))
    assert flagged == {
        "rsi_1m": "", "rsi_1h": "", "macd_1h": "drifted", "candle_doji_detected_1h": "constant", "hour_sin": "",
        "macro_cpi_yoy": "gaps", "news_age": "gaps constant",
    }  # fmt: skip
    assert "drifted (1)" in made.html
    assert "with gaps (2)" in made.html
    assert "constant or empty (2)" in made.html


def test_drift_is_that_of_the_newest_rows_and_time_itself_is_not_measured(features, rows):
    reference, recent = (
        part["macd_1h"].cast(pl.Float32).cast(pl.Float64).to_numpy() for part in (features[:-400], features[-400:])
    )
    assert rows["macd_1h"]["psi"] == pytest.approx(psi(reference, recent))
    assert "psi" in rows["macd_1h"]["why"]
    assert rows["rsi_1m"]["psi"] < 0.1
    assert rows["hour_sin"]["psi"] is None


def test_the_table_has_its_schema_and_equal_inputs_give_equal_bytes(features, made):
    assert dict(made.table.schema) == {name: kind() for name, kind in SCHEMA.items()}
    assert made.html == _render(features).html


def test_text_is_escaped(features):
    nasty = Entry("rsi_1m", "a<b", "x & y", "1m", "up <b>", 'say "no"', ("<in>",), 3, "now & then")
    page = render_dictionary(features.select("decision_at", "rsi_1m"), [nasty], DRIFT, symbol="A<B", simulated=False).html
    assert "<in>" not in page
    assert "a<b" not in page
    assert "up &lt;b&gt;" in page
    assert "Feature dictionary: A&lt;B" in page


def test_one_row_is_enough_and_none_is_refused(features):
    assert _render(features.head(1)).table["psi"].null_count() == 7
    with pytest.raises(DataError, match="0 rows"):
        _render(features.clear())
    with pytest.raises(DataError, match="without values or words: rsi_1h"):
        render_dictionary(features.drop("rsi_1h"), entries(EXPERIMENT, features.columns, ()), DRIFT, symbol="", simulated=False)


def test_small_figures_keep_to_their_column(features):
    tiny = features.select("decision_at", rsi_1m=pl.lit(-4.3217e-5) * pl.int_range(ROWS) / ROWS)
    cells = re.findall(r"<td>([^<]*)</td>", _render(tiny).html)
    assert "\N{MINUS SIGN}4.3e\N{MINUS SIGN}05" in cells
    assert all(len(cell) <= 9 for cell in cells)
