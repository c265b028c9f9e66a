"""The gallery page: the best detection of each pattern, at the right bars, self-contained and the same every time."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from quant_pipeline.backtest import gallery
from quant_pipeline.backtest.gallery import render_gallery
from quant_pipeline.errors import DataError

START = datetime(2025, 3, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
MEANINGS = {
    "harmonic_gartley": "XABCD & so on",
    "candle_hammer": "a long lower shadow",
    "candle_doji": "no body",
    "elliott_impulse": "five waves",
}


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    close = 100 + np.cumsum(rng.normal(size=400))
    opened = np.r_[close[0], close[:-1]]
    at = [START + HOUR * k for k in range(close.size)]
    return pl.DataFrame(
        {
            "timestamp": at, "known_at": [each + HOUR for each in at], "open": opened,
            "high": np.maximum(opened, close) + 0.3, "low": np.minimum(opened, close) - 0.3, "close": close,
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def _event(pattern, rows, known, direction, confidence):
    return {
        "pattern": pattern, "start_at": START + HOUR * rows[0], "pivot_at": START + HOUR * rows[-1],
        "known_at": START + HOUR * (known + 1), "direction": direction, "confidence": confidence,
        "points": [{"at": START + HOUR * row, "price": 100.0 + row % 7} for row in rows],
    }  # fmt: skip


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    rows = [
        _event("harmonic_gartley", [50, 60, 70, 80, 90], 96, 1, 0.4),
        _event("harmonic_gartley", [150, 160, 170, 180, 190], 197, -1, 0.9),
        _event("candle_hammer", [300], 300, 1, 0.7),
        _event("candle_doji", [399], 399, 0, 0.5),
    ]
    moment = pl.Datetime("us", "UTC")
    points = pl.List(pl.Struct({"at": moment, "price": pl.Float64}))
    dtypes = {"start_at": moment, "pivot_at": moment, "known_at": moment, "direction": pl.Int8, "points": points}
    return pl.DataFrame(rows, schema_overrides=dtypes)


@pytest.fixture(scope="module")
def drawn(events, bars) -> gallery.Gallery:
    return render_gallery(events, bars, MEANINGS, symbol="GC=F", simulated=True, facts={"Seed": "7 & 8"})


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, _attrs):
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(drawn):
    parser = Balance()
    parser.feed(drawn.html)
    assert not parser.open
    assert not re.search(r'(src|href)="(?!data:)', drawn.html)
    assert "$" not in re.sub(r'src="[^"]*"', "", drawn.html)
    assert "SIMULATED MARKET" in drawn.html
    assert "XABCD &amp; so on" in drawn.html
    assert "7 &amp; 8" in drawn.html


def test_each_seen_pattern_has_a_card_and_the_others_are_listed(drawn):
    cards, never = drawn.html.split("Never seen on these bars")
    assert re.findall(r"<h3>(.*?) <span", cards) == ["Gartley", "Hammer", "Doji"]
    assert re.findall("<h2>(.*?)</h2>", cards) == ["Harmonic patterns", "Candlesticks"]
    assert "<b>Impulse</b>: Five waves" in never
    assert "3 of 4 patterns seen" in cards


def test_the_best_event_is_told_with_its_confirmation(drawn):
    card = re.sub(r'src="[^"]*"', "", drawn.html).split('<div class="card">')[1]
    assert "bearish" in card
    assert "confidence 0.90" in card
    assert f"known {START + HOUR * 198:%d %b %Y %H:%M}, 7 bars after its last extreme" in card
    assert "2 times" in card
    assert "(1 bullish, 1 bearish)" in card
    assert "at the close of its last bar" in drawn.html.split('<div class="card">')[2]


def test_one_is_one_and_no_name_is_said_twice():
    assert (gallery._count(1, "bar"), gallery._count(1_200, "time")) == ("1 bar", "1,200 times")
    assert gallery._meant("chart_falling_wedge", "falling wedge: both fall") == "Both fall"
    assert gallery._meant("candle_doji", "open & close: level") == "Open &amp; close: level"


def test_the_picture_marks_extreme_and_confirmation_at_their_bars(events, bars):
    shown = gallery._best(events, bars)["harmonic_gartley"]
    assert (shown.start, shown.pivot, shown.known) == (150, 190, 197)
    _, axes = gallery._canvas(4, 3)
    gallery._draw(axes[0, 0], shown, bars)
    joined, pivot, known = axes[0, 0].lines
    assert joined.get_xdata().tolist() == [150, 160, 170, 180, 190]
    assert pivot.get_xdata() == [190, 190]
    assert known.get_xdata() == [197.5, 197.5]
    assert [text.get_text() for text in axes[0, 0].texts] == list("XABCD")


def test_a_short_shape_is_framed(events, bars):
    _, axes = gallery._canvas(4, 3)
    shown = gallery._best(events, bars)["candle_hammer"]
    gallery._draw(axes[0, 0], shown, bars)
    frame = axes[0, 0].patches[-2]  # the last is the shade after the confirmation
    assert frame.get_x() < 300 < frame.get_x() + frame.get_width()
    assert frame.get_y() < bars["low"][300] < bars["high"][300] < frame.get_y() + frame.get_height()
    assert len(axes[0, 0].lines) == 1


def test_the_same_events_give_the_same_bytes(events, bars, drawn):
    again = render_gallery(events, bars, MEANINGS, symbol="GC=F", simulated=True, facts={"Seed": "7 & 8"})
    assert again == drawn
    assert drawn.png.startswith(b"\x89PNG")
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", drawn.html)
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


def test_nothing_seen_is_said(events, bars):
    page = render_gallery(events.clear(), bars, MEANINGS, symbol="X", simulated=False).html
    assert "0 of 4 patterns seen" in page
    assert "SIMULATED" not in page
    assert page.count("<li>") == 4


def test_a_table_without_a_column_is_refused(events, bars):
    with pytest.raises(DataError, match="points"):
        render_gallery(events.drop("points"), bars, MEANINGS, symbol="X", simulated=False)
