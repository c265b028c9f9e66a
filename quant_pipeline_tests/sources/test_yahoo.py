"""Yahoo: yfinance itself talks to a local server that answers as Yahoo's chart endpoint does."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError, SourceError, UnreachableError
from quant_pipeline.sources.yahoo import YahooSource, _pages, yahoo_history

NOW = datetime(2025, 7, 11, 18, 0, tzinfo=UTC)  # a Friday, New York open
MINUTES = {"1m": 1, "15m": 15, "1h": 60, "1d": 1440}
OPEN, CLOSE = 13 * 60 + 30, 20 * 60  # New York in summer, minutes of the UTC day


class Yahoo:
    """Answers /v8/finance/chart/SYMBOL; `script` says how the next requests go wrong."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.script: list[str] = []
        self.always = "good"

    def answer(self, path: str) -> tuple[int, str]:
        url = urlsplit(path)
        query = {key: value[0] for key, value in parse_qs(url.query).items()} | {"symbol": unquote(url.path.rsplit("/", 1)[1])}
        self.requests.append(query)
        how = self.script.pop(0) if self.script else self.always
        if how == "busy":
            return 429, "Too Many Requests"
        if how == "down":
            return 503, "<html>Will be right back</html>"
        body = json.dumps(chart(query, how))
        return 200, body[: len(body) // 2] if how == "torn" else body


def chart(query: dict[str, str], how: str) -> dict:
    step = MINUTES[query["interval"]] * 60
    start, end = (int(query[key]) for key in ("period1", "period2"))
    stamps = [at for at in range(-(-start // step) * step, end + 1, 60) if _traded(at, step)]
    meta = {
        "currency": "USD", "symbol": query["symbol"], "exchangeName": "PCX", "instrumentType": "ETF", "gmtoffset": -14400,
        "timezone": "EDT", "exchangeTimezoneName": "America/New_York", "priceHint": 2, "dataGranularity": query["interval"],
        "validRanges": ["1d", "5d", "1mo", "max"], "range": "",
        "tradingPeriods": [[_period(day)] for day in range(start // 86400 * 86400, end + 86400, 86400)],
    }  # fmt: skip
    if how == "empty" or not stamps:
        return {"chart": {"result": [{"meta": meta, "indicators": {"quote": [{}]}}], "error": None}}
    if how == "unlisted":
        error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
        return {"chart": {"result": None, "error": error}}
    price = [None if how == "holes" and at % 1800 == 0 else 500 + (at % 7919) / 100 for at in stamps]
    volume = [None if value is None else at % 1000 for at, value in zip(stamps, price, strict=True)]
    quote = {
        "open": price, "close": price, "volume": volume,
        "high": [value and value + 1 for value in price], "low": [value and value - 1 for value in price],
    }  # fmt: skip
    if how == "short":
        quote["low"] = quote["low"][:-3]
    return {"chart": {"result": [{"meta": meta, "timestamp": stamps, "indicators": {"quote": [quote]}}], "error": None}}


def _traded(at: int, step: int) -> bool:
    minute, weekday = at % 86400 // 60, datetime.fromtimestamp(at, UTC).weekday()
    return weekday < 5 and OPEN <= minute < CLOSE and (minute - OPEN) % (step // 60) == 0


def _period(day: int) -> dict:
    return {"timezone": "EDT", "start": day + OPEN * 60, "end": day + CLOSE * 60, "gmtoffset": -14400}


@pytest.fixture
def yahoo(monkeypatch):
    import yfinance
    from yfinance import cache, data

    server = Yahoo()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = server.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr("yfinance.scrapers.history._BASE_URL_", base)
    monkeypatch.setattr("yfinance.base._BASE_URL_", base)
    monkeypatch.setattr(data.YfData, "_get_cookie_and_crumb", lambda self, timeout=30: (None, "basic"))  # noqa: ARG005
    monkeypatch.setattr(cache, "get_tz_cache", Zones)
    monkeypatch.setattr(yfinance.config.debug, "data", dict(yfinance.config.debug.data))
    yield server
    http.shutdown()
    http.server_close()


class Zones:
    def lookup(self, _symbol):
        return "America/New_York"


@pytest.fixture
def source(yahoo):  # noqa: ARG001 - the server must run
    return YahooSource(load_universe(), clock=lambda: NOW, sleep=lambda _: None, attempts=3)


def test_shape_of_the_installed_yfinance(yahoo):
    """What `_to_bars` is written for; a new yfinance that answers otherwise fails here first."""
    answer = yahoo_history("SPY", "1m", NOW - timedelta(hours=1), NOW)
    assert list(answer.columns) == ["Open", "High", "Low", "Close", "Adj Close", "Volume"]
    assert str(answer.index.tz) == "America/New_York"
    assert answer.index.name == "Datetime"
    assert len(yahoo.requests) == 1


def test_a_day_of_minutes(source):
    fetched = source.fetch("SPY", "1m", NOW.replace(hour=0), NOW)
    frame = fetched.frame
    assert frame.schema == BARS_SCHEMA
    assert fetched.problems == ()
    assert frame["timestamp"][0] == NOW.replace(hour=13, minute=30)
    assert frame["timestamp"][-1] == NOW - timedelta(minutes=1), "the minute that is still forming stays out"
    assert frame.height == 270
    at = int(frame["timestamp"][5].timestamp())
    assert frame.row(5)[1:] == (
        500 + (at % 7919) / 100,
        501 + (at % 7919) / 100,
        499 + (at % 7919) / 100,
        500 + (at % 7919) / 100,
        at % 1000,
    )


def test_pages_stay_inside_the_limits_and_lose_nothing(source, yahoo):
    frame = source.fetch("SPY", "1m", NOW - timedelta(days=200), NOW).frame
    spans = [int(query["period2"]) - int(query["period1"]) for query in yahoo.requests]
    assert max(spans) <= 7 * 86400
    assert min(int(query["period1"]) for query in yahoo.requests) >= (NOW - timedelta(days=30)).timestamp()
    first = NOW - timedelta(days=30) + timedelta(hours=1)
    expected = [at for at in range(int(first.timestamp()), int(NOW.timestamp()), 60) if _traded(at, 60)]
    assert (frame["timestamp"].dt.epoch("s") == pl.Series(expected)).all()


@pytest.mark.parametrize(("interval", "days"), [("15m", 60), ("1h", 730)])
def test_longer_bars_in_one_request(source, yahoo, interval, days):
    frame = source.fetch("SPY", interval, NOW - timedelta(days=days + 5), NOW).frame
    assert len(yahoo.requests) == 1
    step = timedelta(minutes=MINUTES[interval])
    assert frame["timestamp"].max() + step <= NOW
    assert (frame["timestamp"].diff().drop_nulls() >= step).all()


def test_beyond_the_depth_nothing_is_asked(source, yahoo):
    fetched = source.fetch("SPY", "1m", NOW - timedelta(days=90), NOW - timedelta(days=60))
    assert fetched.frame.is_empty()
    assert fetched.problems == ()
    assert yahoo.requests == []


@pytest.mark.parametrize("trouble", ["busy", "down", "torn", "short"])
def test_passing_trouble_is_tried_again(source, yahoo, trouble):
    # yfinance itself asks twice when it is refused, so that one refusal of a page is two answers
    yahoo.script = [trouble] * 2
    assert source.fetch("SPY", "1m", NOW - timedelta(hours=2), NOW).frame.height == 120


def test_pauses_grow(yahoo):
    pauses: list[float] = []
    source = YahooSource(load_universe(), clock=lambda: NOW, sleep=pauses.append, attempts=4)
    yahoo.always = "busy"
    with pytest.raises(SourceError, match="Too Many Requests"):
        source.fetch("SPY", "1m", NOW - timedelta(hours=2), NOW)
    assert len(pauses) == 3
    assert pauses[0] < pauses[1] < pauses[2] < 10


@pytest.mark.parametrize("code", [6, 7])
def test_without_a_network_one_request_is_enough_and_the_mend_names_it(code):
    from curl_cffi.requests.exceptions import CODE2ERROR

    asked: list[str] = []

    def download(symbol, *_: object):
        asked.append(symbol)
        raise CODE2ERROR[code]("Could not resolve host: query2.finance.yahoo.com", code)

    source = YahooSource(load_universe(), download=download, clock=lambda: NOW, sleep=lambda _: pytest.fail("a pause"))
    with pytest.raises(UnreachableError, match=r"no way to Yahoo .*check the connection to the internet, or the proxy"):
        source.fetch("SPY", "1m", NOW - timedelta(days=25), NOW)
    assert asked == ["SPY"]


def test_a_refused_connection_is_no_network(yahoo, monkeypatch, caplog):
    """As yfinance and curl tell it, without a word of their own."""
    monkeypatch.setattr("yfinance.scrapers.history._BASE_URL_", "http://127.0.0.1:1")
    source = YahooSource(load_universe(), clock=lambda: NOW, sleep=lambda _: pytest.fail("a pause"))
    with pytest.raises(UnreachableError):
        source.fetch("SPY", "1m", NOW - timedelta(days=25), NOW)
    assert not yahoo.requests
    assert not caplog.records


def test_a_lost_page_is_reported_and_the_rest_kept(source, yahoo):
    yahoo.script = ["good"] + ["torn"] * 3 + ["good"] * 2
    fetched = source.fetch("SPY", "1m", NOW - timedelta(days=25), NOW)
    assert len(fetched.problems) == 1
    assert "SPY 1m 2025-06-2" in fetched.problems[0]
    assert 3 * 5 * 350 < fetched.frame.height < 4 * 5 * 390
    assert fetched.frame["timestamp"].is_sorted()


def test_no_pauses_after_the_first_lost_page(yahoo):
    pauses: list[float] = []
    source = YahooSource(load_universe(), clock=lambda: NOW, sleep=pauses.append, attempts=4)
    yahoo.always = "torn"
    with pytest.raises(SourceError):
        source.fetch("SPY", "1m", NOW - timedelta(days=25), NOW)
    assert len(pauses) == 3
    assert len(yahoo.requests) == 4 + 3


@pytest.mark.parametrize(
    ("how", "word"), [("empty", "no price data"), ("unlisted", "may be delisted"), ("torn", "JSONDecodeError")]
)
def test_nothing_at_all_is_an_error_with_clear_words(source, yahoo, how, word):
    yahoo.always = how
    with pytest.raises(SourceError) as error:
        source.fetch("SPY", "1m", NOW - timedelta(days=3), NOW)
    assert "yahoo: SPY 1m 2025-07-08 18:00 to 2025-07-11 18:00" in str(error.value)
    assert word in str(error.value)
    assert "To mend" in str(error.value)


def test_what_yahoo_has_nothing_of_is_asked_once(source, yahoo):
    yahoo.always = "unlisted"
    with pytest.raises(SourceError):
        source.fetch("SPY", "1m", NOW - timedelta(days=3), NOW)
    assert len(yahoo.requests) == 1


def test_a_closed_market_is_no_problem(source):
    saturday = datetime(2025, 7, 5, tzinfo=UTC)
    fetched = source.fetch("SPY", "1m", saturday, saturday + timedelta(days=2))
    assert fetched.frame.is_empty()
    assert fetched.problems == ()


def test_null_minutes_are_missing_minutes(source, yahoo):
    yahoo.always = "holes"
    frame = source.fetch("SPY", "1m", NOW.replace(hour=0), NOW).frame
    assert frame.height == 270 - 9
    assert frame.null_count().sum_horizontal().item() == 0


def test_frames_of_yfinance_download_are_read_too(yahoo):  # noqa: ARG001 - the server must run
    import yfinance

    def download(symbol, interval, start, end):
        return yfinance.download(
            symbol, start=start, end=end, interval=interval, progress=False, threads=False, auto_adjust=False
        )

    answer = download("SPY", "1m", NOW - timedelta(hours=1), NOW)
    assert answer.columns.names == ["Price", "Ticker"]
    source = YahooSource(load_universe(), download=download, clock=lambda: NOW, sleep=lambda _: None)
    assert source.fetch("SPY", "1m", NOW - timedelta(hours=1), NOW).frame.height == 60


def test_symbols_and_intervals_are_checked_before_anything_is_asked(source, yahoo):
    with pytest.raises(ConfigError, match="did you mean 'SPY'"):
        source.fetch("SPI", "1m", NOW - timedelta(days=1), NOW)
    with pytest.raises(ConfigError, match="1m, 15m, 1h"):
        source.fetch("SPY", "5m", NOW - timedelta(days=1), NOW)
    assert yahoo.requests == []


def test_an_answer_without_a_zone_or_a_column_is_refused(source, yahoo):
    good = yahoo_history("SPY", "1m", NOW - timedelta(hours=1), NOW)
    assert yahoo.requests
    for bad, word in ((good.tz_localize(None), "without a time zone"), (good.drop(columns="Volume"), "no volume")):
        broken = YahooSource(source.universe, download=lambda *_, bad=bad: bad, clock=lambda: NOW, sleep=lambda _: None)
        with pytest.raises(SourceError, match=word):
            broken.fetch("SPY", "1m", NOW - timedelta(hours=1), NOW)


def test_pages_cover_the_span():
    end = NOW
    for days in (0.5, 7, 7.1, 29):
        pages = _pages(end - timedelta(days=days), end, timedelta(days=7))
        assert pages[0][0] == end - timedelta(days=days)
        assert pages[-1][1] == end
        assert all(before[1] == after[0] for before, after in pairwise(pages))
        assert max(stop - begin for begin, stop in pages) <= timedelta(days=7)
    assert _pages(end, end, timedelta(days=7)) == _pages(end, end - timedelta(days=1), timedelta(days=7)) == []
