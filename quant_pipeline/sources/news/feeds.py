"""One feed: asked over HTTP within limits of size and time, and its answer read as entries."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import tenacity

from quant_pipeline.config.feeds import Feed
from quant_pipeline.errors import SourceError
from quant_pipeline.sources.news.times import Told, told_time

LONGEST_PAUSE = 30.0
"""Seconds between two tries at most."""
_NOT_MODIFIED, _BUSY, _SERVER_ERROR = 304, 429, 500
_ASKED_WITH = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
_HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; quant_pipeline news reader)", "Accept": "application/rss+xml, */*;q=0.5"}


class TrySoonError(SourceError):
    """The feed did not answer this time; another try may work."""


@dataclass(frozen=True)
class Limits:
    """What one answer may cost: bytes after decompression, and seconds in all; `attempts` is how often a feed is asked."""

    bytes: int = 5_000_000
    seconds: float = 30.0
    attempts: int = 3


@dataclass(frozen=True)
class Answer:
    """`body` is None where the feed has not changed; `validators` are the headers with which to ask the next time."""

    body: bytes | None
    validators: dict[str, str]


@dataclass(frozen=True)
class Entry:
    """One item as the feed tells it.

    `time` runs from the earliest moment of its publication to the latest one of its last change, whose title this is;
    None where the feed tells no time or one that cannot be read. `time_told` is what it tells, as text.
    """

    title: str
    time: Told | None
    time_told: str
    source: str
    link: str | None
    guid: str | None


def client(transport: httpx.BaseTransport | None, limits: Limits) -> httpx.Client:
    """An HTTP client for feeds; `transport` stands for the network in tests."""
    return httpx.Client(transport=transport, timeout=limits.seconds, follow_redirects=True, headers=_HEADERS)


def ask(
    http: httpx.Client, feed: Feed, validators: Mapping[str, str], limits: Limits, sleep: Callable[[float], None] = time.sleep
) -> Answer:
    """The feed's present answer; asked again, with growing pauses, where the network or the server fails.

    Args:
        http: of `client`.
        feed: what to ask.
        validators: of the last answer that was stored; empty asks for everything.
        limits: of size, time and tries.
        sleep: waits between tries.

    Raises:
        SourceError: no answer, an HTTP error, or more than `limits` allow; names the feed.
    """
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(limits.attempts),
        wait=tenacity.wait_exponential_jitter(initial=1, max=LONGEST_PAUSE),
        retry=tenacity.retry_if_exception_type(TrySoonError),
        sleep=sleep,
        reraise=True,
    )
    return again(_ask_once, http, feed, validators, limits)


def _ask_once(http: httpx.Client, feed: Feed, validators: Mapping[str, str], limits: Limits) -> Answer:
    try:
        with http.stream("GET", feed.url, headers=dict(validators)) as response:
            if response.status_code == _NOT_MODIFIED:
                return Answer(None, dict(validators))
            _check_status(response, feed)
            told = {header: response.headers[name] for header, name in _ASKED_WITH.items() if name in response.headers}
            return Answer(_body(response, feed, limits), told)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(feed, f"{type(error).__name__}: {error}", "an answer", TrySoonError) from error


def _check_status(response: httpx.Response, feed: Feed) -> None:
    code = response.status_code
    if response.is_success:
        return
    kind = TrySoonError if code == _BUSY or code >= _SERVER_ERROR else SourceError
    raise _failed(feed, f"HTTP {code} {response.reason_phrase}", "HTTP 200", kind)


def _body(response: httpx.Response, feed: Feed, limits: Limits) -> bytes:
    """The decompressed bytes, read no further than the limits: a feed that never ends must not hold up a run."""
    deadline = time.monotonic() + limits.seconds
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > limits.bytes:
            raise _failed(feed, f"more than {limits.bytes} bytes", "a news feed of usual size", SourceError)
        if time.monotonic() > deadline:
            raise _failed(feed, f"no end within {limits.seconds:g} s", "a whole answer", SourceError)
    return bytes(body)


def _failed(feed: Feed, found: str, wanted: str, kind: type[SourceError]) -> SourceError:
    return kind(
        f"news feed {feed.name!r}", found=found, wanted=wanted,
        mend=f"open {feed.url} in a browser; run again later, or correct the feed in feeds.yaml",
    )  # fmt: skip


def entries(body: bytes, feed: Feed) -> tuple[list[Entry], str | None]:
    """The items of an answer, newest as the feed orders them, and what is wrong with its XML (None: nothing).

    What could be read of a malformed feed is kept; bytes that are not of the declared encoding are read in another one.

    Raises:
        SourceError: the answer is no RSS or Atom at all.
    """
    import feedparser

    parsed = feedparser.parse(io.BytesIO(body))  # never the bytes themselves: text that looks like a path would be opened
    if not parsed.get("version"):
        raise _failed(feed, f"{len(body)} bytes that are no feed", "RSS or Atom", SourceError)
    wrong = str(parsed.get("bozo_exception", "unknown")) if parsed.bozo else None
    default = parsed.feed.get("title") or feed.name
    return [_entry(item, default) for item in parsed.entries], wrong


def _entry(item: Mapping[str, Any], default_source: str) -> Entry:
    plain = dict(item)  # feedparser's own answers a question for `updated` with `published`
    told = [plain[name] for name in ("published", "updated") if plain.get(name)]
    return Entry(
        title=item.get("title") or "",
        time=_time(told),
        time_told=" ".join(told),
        source=(item.get("source") or {}).get("title") or default_source,
        link=item.get("link") or None,
        guid=item.get("id") or None,
    )


def _time(told: Sequence[str]) -> Told | None:
    """From the first moment of the first time to the last one of all; None if one of them cannot be read."""
    times = [time for text in told if (time := told_time(text)) is not None]
    if not times or len(times) < len(told):
        return None
    return times[0]._replace(latest=max(time.latest for time in times))
