from __future__ import annotations

import pytest

from quant_pipeline.config.feeds import Feed, load_feeds
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError


def test_every_traded_symbol_has_feeds_of_both_providers():
    feeds = load_feeds()
    for symbol in load_universe().symbols:
        assert {feed.name.partition(":")[0] for feed in feeds.of(symbol)} == {"google", "yahoo"}


def test_questions_are_escaped():
    feeds = load_feeds()
    assert feeds.of("SPY")[0].url.startswith("https://news.google.com/rss/search?q=S%26P%20500%20stock")
    assert feeds.of("GC=F")[1] == Feed(
        "yahoo: GC=F", "https://feeds.finance.yahoo.com/rss/2.0/headline?s=GC%3DF&region=US&lang=en-US"
    )


def test_a_symbol_without_feeds_is_named():
    with pytest.raises(ConfigError, match=r"news feeds of 'ZZZ'.*feeds\.yaml"):
        load_feeds().of("ZZZ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("providers: {a: 'https://a/{query}'}\nsymbols: {SPY: {b: [x]}}\n", "unknown: b"),
        ("providers: {a: 'https://a/x'}\nsymbols: {}\n", "{query}"),
        ("providers: {a: 'file:///{query}'}\nsymbols: {}\n", r"http\(s\)"),
        ("provider: {}\nsymbols: {}\n", "providers"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, told):
    path = tmp_path / "feeds.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_feeds(path)
