"""Collection from feeds behind a made-up network: what is kept, what the ledger says, and that nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape

import httpx
import polars as pl
import pytest

from quant_pipeline.config.feeds import FeedSettings
from quant_pipeline.errors import DataError, SourceError
from quant_pipeline.sources.base import HEADLINES_SCHEMA
from quant_pipeline.sources.news.articles import ArticleStore
from quant_pipeline.sources.news.feeds import Limits
from quant_pipeline.sources.news.rss import COLLECTED_SCHEMA, RssSource, collect_into
from quant_pipeline.sources.news.titles import article_id, tidy, title_key, without_source

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEEDS = FeedSettings(
    providers={"one": "https://one.test/rss?q={query}", "two": "https://two.test/rss?q={query}"},
    symbols={"GC=F": {"one": ("gold price",), "two": ("GC=F",)}, "SPY": {"one": ("S&P 500",)}},
)


def item(title="Gold rises", hours=1.0, link="", when=None, source=""):
    told = format_datetime(NOW - timedelta(hours=hours)) if when is None else when
    parts = [f"<title>{escape(title)}</title>", f"<pubDate>{told}</pubDate>" if told else ""]
    parts += [f"<link>{link}</link>" if link else "", f"<source url='https://x.test'>{source}</source>" if source else ""]
    return f"<item>{''.join(parts)}</item>"


def rss(*items: str, encoding="utf-8"):
    channel = f"<channel><title>Wire</title>{''.join(items)}</channel>"
    return f"<?xml version='1.0' encoding='{encoding}'?><rss version='2.0'>{channel}</rss>".encode(encoding)


class Network:
    """Answers by host; a callable answers itself. Every request is kept."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.requests = []

    def __call__(self, request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get(request.url.host.partition(".")[0], rss())
        if callable(answer):
            answer = answer(request)
        return httpx.Response(200, content=answer) if isinstance(answer, bytes) else answer


@pytest.fixture
def source(tmp_path):
    def make(network, **settings: object):
        settings = {"limits": Limits(attempts=2), "sleep": lambda _: None} | settings
        return RssSource(FEEDS, tmp_path / "state", transport=httpx.MockTransport(network), **settings)

    return make


def test_headlines_with_their_times(source):
    network = Network(one=rss(item("Gold  rises\n - Reuters", 2, "https://x.test/1", source="Reuters"), item("Gold falls", 1)))
    got = source(network, delay=timedelta(minutes=3)).collect("GC=F", NOW)
    assert got.frame.schema == COLLECTED_SCHEMA
    assert got.frame.select(*HEADLINES_SCHEMA, "link").rows() == [
        (NOW - timedelta(hours=2), NOW - timedelta(minutes=117), "GC=F", "Gold rises", "Reuters", "https://x.test/1"),
        (NOW - timedelta(hours=1), NOW - timedelta(minutes=57), "GC=F", "Gold falls", "Wire", None),
    ]
    assert (got.ledger.rows_in, got.ledger.dropped, got.problems) == (2, {}, ())
    assert got.ledger.notes["empty"] == ["two: GC=F"]
    assert [str(request.url) for request in network.requests] == [
        "https://one.test/rss?q=gold%20price",
        "https://two.test/rss?q=GC%3DF",
    ]


def test_bad_times_and_titles_become_ledger_rows(source):
    feed = rss(
        item("fine"), item("no time", when=""), item("bad time", when="next Tuesday or so"),
        item("no such day", when="2027-13-45"),
        item("future", hours=-0.1), item("clock slack", hours=-0.05), item("old", hours=30 * 24 + 1), item("   "),
    )  # fmt: skip
    got = source(Network(one=feed)).collect("GC=F", NOW)
    assert set(got.frame["title"]) == {"fine", "clock slack"}
    assert got.ledger.dropped == {"no_time": 1, "bad_time": 2, "future": 1, "too_old": 1, "no_title": 1}
    assert got.ledger.rows_out == got.frame.height


def test_a_huge_title_is_cut_and_counted(source):
    got = source(Network(one=rss(item("gold " * 20_000), item("short")))).collect("GC=F", NOW)
    assert sorted(got.frame["title"].str.len_chars()) == [5, 499]  # 500 less the space at the cut
    assert got.ledger.notes["title_too_long"] == 1


def test_copies_across_feeds_are_one_article(source):
    one = rss(item("Gold rises!", 3, "https://x.test/1"), item("Gold rises", 24 * 8, "https://x.test/1"))
    two = rss(item("GOLD  RISES", 2, "https://y.test/9"), item("Gold rises", 24 * 9, "https://y.test/8"))
    got = source(Network(one=one, two=two)).collect("GC=F", NOW)
    assert got.frame["title"].to_list() == ["Gold rises", "Gold rises!"], "the one of nine days ago is another article"
    assert got.ledger.dropped == {"repeated": 2}


def test_stories_that_share_a_link_are_told_apart_by_their_titles(source, tmp_path):
    stories = [item(title, 3, "https://x.test/live") for title in ("Gold rises", "Oil falls", "Fed holds")]
    store = ArticleStore(tmp_path / "store")
    reader = source(Network(one=rss(*stories)))
    collect_into(reader, store, "GC=F", NOW)
    got, stored = collect_into(reader, store, "GC=F", NOW + timedelta(hours=1))
    assert got.frame.height == 3
    assert stored.dropped == {"seen_before": 3}
    assert set(store.read("GC=F")["title"]) == {"Gold rises", "Oil falls", "Fed holds"}


def test_a_title_that_recurs_at_one_link_is_told_apart_by_its_guid(source):
    def wrap(day, guid):
        return item("Market wrap", 24 * day, "https://x.test/wrap").replace(
            "</item>", f"<guid isPermaLink='false'>{guid}</guid></item>"
        )

    got = source(Network(one=rss(wrap(1, "a"), wrap(4, "b"), wrap(8, "b")))).collect("GC=F", NOW)
    assert got.frame["published_at"].to_list() == [NOW - timedelta(days=8), NOW - timedelta(days=1)]


@pytest.mark.parametrize(
    ("told", "hours"),
    [
        ("EST", 5), ("CET", -1), ("IST", -1), ("CST", 6), ("BST", -1), ("JST", -9), ("ET", 5), ("PST", 8), ("XYZ", 12), ("", 12),
        ("GMT+2", -2), ("-0330", 3.5), ("-0500 (EST)", 5), ("+0530", -5.5), ("America/New_York", 5),
    ],
)  # fmt: skip
def test_a_zone_is_read_as_the_latest_that_it_may_be(source, told, hours):
    got = source(Network(one=rss(item(when=f"Wed, 18 Nov 2026 12:00:00 {told}")))).collect("GC=F", NOW)
    assert got.frame["known_at"].to_list() == [datetime(2026, 11, 18, 12, tzinfo=UTC) + timedelta(hours=hours)]
    assert got.ledger.notes["vague_times"] == (told in {"IST", "BST", "ET", "XYZ", ""})


@pytest.mark.parametrize("day", ["2026-11-17", "Tue, 17 Nov 2026", "17 Nov 26", "2026-11-17T00:00:00", "Nov 17, 2026"])
def test_a_date_is_known_when_it_is_over_everywhere(source, day):
    got = source(Network(one=rss(item(when=day)))).collect("GC=F", NOW)
    assert got.frame["known_at"].to_list() == [datetime(2026, 11, 18, 12, tzinfo=UTC)]


def test_a_changed_article_is_known_when_it_was_changed(source):
    story = "<entry><title>Gold rises after all</title><published>2026-11-18T10:00:00Z</published><updated>{}</updated></entry>"
    atom = "<feed xmlns='http://www.w3.org/2005/Atom'><title>Wire</title>{}</feed>"
    feed = atom.format(story.format("2026-11-18T15:00:00Z") + story.format("when it rains").replace("all", "that"))
    got = source(Network(one=feed.encode())).collect("GC=F", NOW)
    assert got.frame["published_at"].to_list() == [datetime(2026, 11, 18, 10, tzinfo=UTC)]
    assert got.frame["known_at"].to_list() == [datetime(2026, 11, 18, 15, tzinfo=UTC)]
    assert got.ledger.dropped == {"bad_time": 1}


def test_of_two_copies_the_one_that_was_surely_there_first_counts(source):
    vague, exact = item("Gold", when="18 Nov 2026"), item("Gold", when="Wed, 18 Nov 2026 12:00:00 GMT")
    got = source(Network(one=rss(vague), two=rss(exact))).collect("GC=F", NOW)
    assert got.frame["known_at"].to_list() == [datetime(2026, 11, 18, 12, tzinfo=UTC)]


def test_titles_of_feeds_hold_no_markup(source):
    marked = item("Gold &amp; <b>silver</b> rise: R&D < 5 & >3") + item("Profit &lt;b&gt;up&lt;/b&gt;<br>again")
    got = source(Network(one=rss(marked))).collect("GC=F", NOW)
    assert set(got.frame["title"]) == {"Gold & silver rise: R&D < 5 & >3", "Profit up again"}


def test_malformed_feeds_keep_what_parsed(source):
    cut = rss(item("whole"), item("also whole"), item("lost"))[:-60]
    unescaped = rss(item("fine")).replace(b"fine", b"a < b & c")
    got = source(Network(one=cut, two=unescaped)).collect("GC=F", NOW)
    assert {"whole", "also whole"} <= set(got.frame["title"])
    assert set(got.ledger.notes["malformed"]) == {"one: gold price", "two: GC=F"}


def test_bytes_that_are_not_utf8(source):
    declared = rss(item("Orfèvre: l'or monte de 3 €"), encoding="iso-8859-15")
    undeclared = rss(item("Café prices")).replace("Café".encode(), "Café".encode("latin-1"))
    got = source(Network(one=declared, two=undeclared)).collect("GC=F", NOW)
    assert set(got.frame["title"]) == {"Orfèvre: l'or monte de 3 €", "Café prices"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "no feed"), (b"<html><body>please log in</body></html>", "no feed"), (b"\x00\xff\xfe" * 50, "no feed"),
        (httpx.Response(404), "HTTP 404"), (httpx.Response(503), "HTTP 503"), (httpx.Response(429), "HTTP 429"),
        (b"x" * 6_000_000, "more than 5000000 bytes"),
    ],
)  # fmt: skip
def test_a_failing_feed_is_a_problem_and_the_others_articles_stay(source, answer, told):
    got = source(Network(one=answer, two=rss(item("kept")))).collect("GC=F", NOW)
    assert got.frame["title"].to_list() == ["kept"]
    assert len(got.problems) == 1
    assert told in got.problems[0]
    assert "'one: gold price'" in got.problems[0]
    assert "feeds.yaml" in got.problems[0]
    assert [url for url in got.state if "one.test" in url] == [], "a failed feed is not marked as read"


def test_when_every_feed_fails_it_is_an_error(source):
    def refuse(request):
        raise httpx.ConnectError("no route to host", request=request)

    with pytest.raises(SourceError, match=r"'one: gold price'.*no route"):
        source(Network(one=refuse, two=refuse)).collect("GC=F", NOW)


def test_busy_servers_are_asked_again_and_refusals_are_not(source):
    answers = iter([httpx.Response(503), httpx.Response(200, content=rss(item("late")))])
    network = Network(one=lambda _: next(answers), two=httpx.Response(403))
    got = source(network).collect("GC=F", NOW)
    assert got.frame["title"].to_list() == ["late"]
    assert [request.url.host for request in network.requests] == ["one.test", "one.test", "two.test"]


def test_a_feed_that_never_ends_is_cut_off(source):
    class Drip(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" "

    network = Network(one=lambda _: httpx.Response(200, stream=Drip()), two=rss(item("kept")))
    got = source(network, limits=Limits(seconds=0.05, attempts=1)).collect("GC=F", NOW)
    assert "no end within" in got.problems[0]


def test_a_feed_that_did_not_change_is_asked_only_for_changes(source, tmp_path):
    def conditional(request):
        if request.headers.get("If-None-Match") == '"v1"' and "If-Modified-Since" in request.headers:
            return httpx.Response(304)
        return httpx.Response(200, content=rss(item("Gold rises")), headers={"ETag": '"v1"', "Last-Modified": "Fri, 20 Nov 2026"})

    reader, store = source(Network(one=conditional)), ArticleStore(tmp_path / "store")
    first, stored = collect_into(reader, store, "GC=F", NOW)
    assert (first.ledger.rows_in, stored.rows_out) == (1, 1)
    again, stored = collect_into(reader, store, "GC=F", NOW + timedelta(hours=1))
    assert (again.ledger.rows_in, stored.rows_in) == (0, 0)
    assert again.ledger.notes["not_modified"] == ["one: gold price"]


def test_a_run_that_dies_before_storing_is_told_everything_again(source):
    def tagged(request):
        known = "If-None-Match" in request.headers
        return httpx.Response(304) if known else httpx.Response(200, content=rss(item()), headers={"ETag": "v"})

    reader = source(Network(one=tagged))
    assert reader.collect("GC=F", NOW).frame.height == 1
    assert reader.collect("GC=F", NOW).frame.height == 1, "nothing was remembered, for nothing was stored"


def test_later_articles_are_known_when_seen_and_the_first_ones_when_published(source, tmp_path):
    network = Network(one=rss(item("old news", 5)))
    reader, store = source(network, delay=timedelta(minutes=2)), ArticleStore(tmp_path / "store")
    collect_into(reader, store, "GC=F", NOW)
    later = NOW + timedelta(hours=1)
    network.answers["one"] = rss(item("old news", 5), item("came late", 3), item("ahead", -1))
    collect_into(reader, store, "GC=F", later)
    known = dict(store.read("GC=F").select("title", "known_at").rows())
    assert known == {
        "old news": NOW - timedelta(hours=5) + timedelta(minutes=2),
        "came late": later,
        "ahead": later + timedelta(minutes=2),
    }


def test_a_feed_that_is_added_later_brings_history(source, tmp_path):
    network = Network(one=rss(item("a", 5)), two=httpx.Response(500))
    reader, store = source(network), ArticleStore(tmp_path / "store")
    collect_into(reader, store, "GC=F", NOW)
    network.answers = {"one": rss(item("both", 4)), "two": rss(item("both", 4), item("only two", 3))}
    collect_into(reader, store, "GC=F", NOW + timedelta(hours=1))
    known = dict(store.read("GC=F").select("title", "known_at").rows())
    assert known["both"] == NOW + timedelta(hours=1), "a watched feed brought it just now"
    assert known["only two"] == NOW - timedelta(hours=3)


def test_a_damaged_state_is_named(source):
    reader = source(Network(one=rss(item())))
    reader.remember("GC=F", reader.collect("GC=F", NOW))
    path = next(reader.state.glob("*.json"))
    assert set(json.loads(path.read_text())) == {feed.url for feed in FEEDS.of("GC=F")}
    path.write_text("[1, 2")
    with pytest.raises(DataError, match=r"GC=F\.json.*delete it"):
        reader.collect("GC=F", NOW)


def test_symbols_do_not_share_what_was_read(source):
    reader = source(Network(one=rss(item("S&P 500 rises"))))
    reader.remember("GC=F", reader.collect("GC=F", NOW))
    spy = reader.collect("SPY", NOW)
    assert spy.frame.select("symbol", "title", "first").rows() == [("SPY", "S&P 500 rises", True)]


def test_now_needs_a_zone(source):
    with pytest.raises(DataError, match="time zone"):
        source(Network()).collect("GC=F", NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a\t\n b ", "a b"),
        ("Gold\u00a0up\u200b", "Gold up"),
        ("x\x00y\ud800z", "xyz"),
        ("\ufb01ne", "fine"),
        ("\u202egold", "gold"),
        ("Dow &amp;amp; S&amp;P", "Dow & S&P"),
        ("<p class='x'>Gold</p><p>up</p>", "Gold up"),
        ("<script>alert(1)</script>Gold<!-- ad -->", "Gold"),
        ("<![CDATA[Gold <i>up</i>]]>", "Gold up"),
        ("P/E <10 & >5; AT&T, R&D, x<y>z", "P/E <10 & >5; AT&T, R&D, x<y>z"),
        ("&nbsp;Gold&#x2019;s&#0;", "Gold\u2019s\ufffd"),
    ],
)
def test_titles_are_tidied(raw, clean):
    assert tidy(raw) == clean
    assert pl.Series([tidy(raw)]).to_list() == [clean]


@pytest.mark.parametrize("piece", ["<!--", "<script ", "<script>", "<b ", "<", "&amp;", "<<b>"])
def test_markup_without_end_holds_nothing_up(piece):
    assert len(tidy(piece * 100_000)) <= 10_000


def test_copies_of_a_title_have_one_key():
    assert title_key("Gold Rises — to $4,000!") == title_key("gold rises to 4 000")
    assert title_key("金が上昇") != title_key("金が下落")
    assert title_key("!!!") != title_key("???")
    assert article_id("Gold Rises", "l") == article_id("gold  rises", "l") != article_id("gold rises", None)
    assert without_source("A - B - Wire", "Wire") == "A - B"
    assert without_source(" - Wire", "Wire") == " - Wire"
