"""FRED: fredapi itself talks to a local server that answers, clips and refuses as FRED does."""

from __future__ import annotations

import threading
import traceback
from datetime import UTC, date, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.errors import ConfigError, SourceError
from quant_pipeline.sources.base import RELEASES_SCHEMA, MacroSource
from quant_pipeline.sources.macro import fred
from quant_pipeline.sources.macro.fred import FredSource, _pages
from quant_pipeline.sources.macro.releases import first_release

KEY = "abcdef0123456789abcdef0123456789"
START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
# period, vintage, value as FRED writes it; the second period has no value at first, the first is revised twice
CPI = [
    ("2024-01-01", "2024-02-13", "308.417"),
    ("2024-02-01", "2024-03-12", "."),
    ("2024-02-01", "2024-03-14", "310.326"),
    ("2024-01-01", "2024-03-12", "308.500"),
    ("2024-03-01", "2024-04-10", "312.332"),
    ("2024-01-01", "2025-02-12", "308.417"),
    ("2024-01-01", "2025-03-01", "308.600"),
]


class Server:
    """Answers /fred/series/observations and /fred/series/vintagedates; `script` says how the next requests go wrong."""

    def __init__(self) -> None:
        self.data: dict[str, list[tuple[str, str, str]]] = {"CPIAUCSL": CPI}
        self.requests: list[dict[str, str]] = []
        self.script: list[tuple[int, str]] = []
        self.most = 2_000
        self.limit = 100_000
        self.root = ""

    def answer(self, path: str) -> tuple[int, str]:
        url = urlsplit(path)
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        self.requests.append(query | {"path": url.path})
        if self.script:
            return self.script.pop(0)
        if query.get("api_key") != KEY:
            return refusal("The value for variable api_key is not registered.")
        rows = self.data.get(query["series_id"])
        if rows is None:
            return refusal("The series does not exist.")
        vintages = sorted({vintage for _, vintage, _ in rows})
        if url.path == "/fred/series/vintagedates":
            told = "".join(f"<vintage_date>{day}</vintage_date>" for day in vintages)
            return 200, f'<vintage_dates count="{len(vintages)}" offset="0" limit="10000">{told}</vintage_dates>'
        begin, end = query["realtime_start"], query["realtime_end"]
        asked = [day for day in vintages if begin <= day <= end]
        if len(asked) > self.most:
            return refusal(f"There are {len(asked)} vintage dates. This exceeds the maximum number allowed ({self.most}).")
        found = list(self._in_force(rows, begin, end))
        told = "".join(found[: self.limit])
        return 200, f'<observations count="{len(found)}" offset="0" limit="{self.limit}">{told}</observations>'

    def _in_force(self, rows, begin, end):
        """Every figure that was in force at some time in [begin, end], its own span cut to that: as FRED does it."""
        for period in sorted({period for period, _, _ in rows}):
            told = sorted((vintage, value) for own, vintage, value in rows if own == period)
            for row, (vintage, value) in enumerate(told):
                until = told[row + 1][0] if row + 1 < len(told) else "9999-12-31"
                if vintage <= end and until > begin:
                    span = f'realtime_start="{max(vintage, begin)}" realtime_end="{min(until, end)}"'
                    yield f'<observation {span} date="{period}" value="{value}"/>'


def refusal(message: str, code: int = 400) -> tuple[int, str]:
    return code, f'<?xml version="1.0" encoding="utf-8" ?><error code="{code}" message={quoteattr(f"Bad Request.  {message}")} />'


@pytest.fixture(scope="module")
def running():
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = server.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object):
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server.root = f"http://127.0.0.1:{http.server_address[1]}/fred"
        yield server
        http.shutdown()


@pytest.fixture
def server(running, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running.data, running.requests, running.script, running.most, running.limit = {"CPIAUCSL": CPI}, [], [], 2_000, 100_000
    return running


def source(server, **changed: object):
    given = {"api_key": pydantic.SecretStr(KEY), "series": ("CPIAUCSL",), "root_url": server.root, "sleep": lambda _: None}
    return FredSource(**(given | changed))


def told(frame):
    return [(str(period), f"{at:%Y-%m-%d %H:%M}", value, n) for period, at, value, n in frame.select(
        "period", "known_at", "value", "revision").iter_rows()]  # fmt: skip


def test_first_releases_and_revisions_are_known_from_the_end_of_their_day_in_new_york(server):
    found = source(server).releases(START, END)
    assert isinstance(source(server), MacroSource)
    assert found.schema == RELEASES_SCHEMA
    assert told(found) == [
        ("2024-01-01", "2024-02-14 05:00", 308.417, 0),
        ("2024-01-01", "2024-03-13 04:00", 308.5, 1),
        ("2024-02-01", "2024-03-13 04:00", None, 0),
        ("2024-02-01", "2024-03-15 04:00", 310.326, 0),
        ("2024-03-01", "2024-04-11 04:00", 312.332, 0),
        ("2024-01-01", "2025-02-13 05:00", 308.417, 2),
        ("2024-01-01", "2025-03-02 05:00", 308.6, 3),
    ]
    assert found["released_at"][0] == datetime(2024, 2, 13, 5, tzinfo=UTC)
    assert first_release(found)["value"].to_list() == [308.417, 310.326, 312.332]


def test_a_release_hour_is_new_yorks_in_winter_and_summer(server):
    found = source(server, hours={"CPIAUCSL": time(8, 30)}).releases(START, END)
    assert [f"{at:%m-%d %H:%M}" for at in found["known_at"][[0, 4]]] == ["02-13 13:30", "04-10 12:30"]


def test_an_old_figure_is_not_released_where_the_question_starts(server):
    found = source(server).releases(datetime(2024, 4, 1, tzinfo=UTC), datetime(2025, 2, 20, tzinfo=UTC))
    assert told(found) == [("2024-03-01", "2024-04-11 04:00", 312.332, 0), ("2024-01-01", "2025-02-13 05:00", 308.417, 1)]
    assert source(server).releases(datetime(2025, 6, 1, tzinfo=UTC), END).is_empty()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.dictionaries(
        st.tuples(st.integers(0, 6), st.integers(0, 12)), st.sampled_from(["1.0", "2.0", "3.0", "."]), min_size=1, max_size=30
    ),
    page=st.integers(1, 5),
    first=st.integers(-2, 14),
)
def test_pages_tell_what_one_question_would(running, rows, page, first):
    """Whatever the page and the start, the releases are the changes in the true history."""
    day = date(2024, 6, 1)
    history = sorted(
        (day - timedelta(days=30 * period), day + timedelta(days=vintage), v) for (period, vintage), v in rows.items()
    )
    running.data, running.script, running.most = {"X": [(str(p), str(v), value) for p, v, value in history]}, [], page
    start = datetime.combine(day + timedelta(days=first), time(4), UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fred, "PAGE", page)
        found = source(running, series=("X",)).releases(start, END)
    expected, last = set(), {}
    for period, vintage, text in history:
        value = None if text == "." else float(text)
        changed = period not in last or last[period] != value
        last[period] = value
        if changed and vintage >= start.date():
            expected.add((period, vintage, value))
    released = found["released_at"].dt.convert_time_zone("America/New_York").dt.date()
    assert set(zip(found["period"], released, found["value"], strict=True)) == expected
    assert found.height == len(expected)


def test_pages_are_led_by_the_vintage_before():
    days = [date(2024, 1, day) for day in range(1, 8)]
    start, end = datetime(2024, 1, 3, 5, tzinfo=UTC), datetime(2024, 1, 6, 5, tzinfo=UTC)
    assert _pages(days, start, end) == [days[1:5]]
    assert _pages(days, START, START + timedelta(days=1)) == []
    assert _pages([], start, end) == []


def test_a_busy_fred_is_asked_again(server):
    pauses = []
    server.script = [refusal("Too Many Requests.", 429), (503, "<html>Will be right back</html>")]
    assert source(server, sleep=pauses.append).releases(START, END).height == 7
    assert len(pauses) == 2
    server.script = [refusal("Too Many Requests.", 429)] * 3
    with pytest.raises(SourceError, match=r"'CPIAUCSL': found HTTP 429 .*fewer requests a minute"):
        source(server, attempts=3).releases(START, END)
    assert not server.script


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (refusal("The series does not exist."), ConfigError, "'CPIAUCSL': found HTTP 400 .*does not exist"),
        ((200, "<html><p>Sign in to the Wi-Fi</html>"), SourceError, "not XML"),
        ((200, '<vintage_dates count="20000" limit="10000"></vintage_dates>'), SourceError, "10000 of 20000 rows"),
        ((200, "<vintage_dates><vintage_date>soon</vintage_date></vintage_dates>"), SourceError, "cannot be read"),
        (refusal("Something new."), SourceError, "Something new"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(server, script, error, text):
    server.script = [script]
    with pytest.raises(error, match=text):
        source(server).releases(START, END)
    assert len(server.requests) == 1


def test_a_cut_answer_is_no_answer(server):
    server.limit = 3
    with pytest.raises(SourceError, match="3 of 7 rows"):
        source(server).releases(START, END)


def test_no_network_says_so(server):
    with pytest.raises(SourceError, match=r"no answer .*refused"):
        source(server, root_url="http://127.0.0.1:9/fred", attempts=2).releases(START, END)


def test_the_key_comes_from_the_environment(server, monkeypatch):
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="FRED_API_KEY: found no key"):
        FredSource()
    monkeypatch.setenv("FRED_API_KEY", f" {KEY}\n")
    assert FredSource(series=("CPIAUCSL",), root_url=server.root).releases(START, END).height == 7


@pytest.mark.parametrize("trouble", ["wrong key", "echo", "no network"])
def test_the_key_is_nowhere(server, trouble, caplog):
    secret = KEY[::-1]
    used = source(server, api_key=pydantic.SecretStr(secret), attempts=1)
    if trouble == "echo":
        server.script = [refusal(f"The value {secret} of variable api_key is not registered.")]
    if trouble == "no network":
        used = source(server, api_key=pydantic.SecretStr(secret), attempts=1, root_url="http://127.0.0.1:9/fred")
    with pytest.raises((ConfigError, SourceError)) as caught:
        used.releases(START, END)
    chain, seen = [caught.value], []
    while chain:
        error = chain.pop()
        seen += [str(error), repr(vars(error)), getattr(error, "url", "")]
        chain += [other for other in (error.__cause__, error.__context__) if other is not None]
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert secret not in "".join((*seen, *told, repr(used), str(used), caplog.text)).replace(f"secret = '{secret}'", "")
