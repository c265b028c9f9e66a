"""FRED's series with every vintage, through fredapi: what each figure was on the day it was first told, and after.

FRED answers a question about vintages with at most 2,000 of them, and cuts the first vintage it shows to the start of
the question, so that an old figure looks as if it were released there. Pages therefore follow the series' own vintage
dates, begin one vintage before `start`, and a figure that did not change from page to page is not a release.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import urlopen
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import polars as pl
import pydantic

from quant_pipeline.errors import ConfigError, SourceError
from quant_pipeline.sources.base import RELEASES_SCHEMA
from quant_pipeline.sources.macro.releases import NEW_YORK, known_from, numbered, start_of_day

if TYPE_CHECKING:
    from fredapi import Fred

SERIES = ("FEDFUNDS", "DGS2", "DGS10", "DGS30", "CPIAUCSL", "UNRATE", "PAYEMS", "ICSA")
"""The six of document 000, 2.3, and the two releases that move markets most beside them: payrolls and jobless claims."""
KEY = "FRED_API_KEY"
PAGE = 1_000
"""Vintages asked for at once: FRED refuses more than 2,000."""
_LONGEST_PAUSE = 60.0  # seconds
_TOO_MANY, _SERVER = 429, 500


def key_from_environment() -> pydantic.SecretStr:
    """The key in `FRED_API_KEY`; raises `ConfigError` when there is none."""
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise ConfigError(
            KEY, found="no key", wanted="a FRED key, free at fredaccount.stlouisfed.org/apikeys",
            mend=f"export {KEY}=…, or read macro series from your own files, or leave the family macro out",
        )  # fmt: skip
    return pydantic.SecretStr(key)


class _BusyError(Exception):
    """Worth asking again: too many requests, a server in trouble, or no network."""


class _RefusedError(Exception):
    """Asking again gives the same."""


@dataclass(frozen=True)
class FredSource:
    """FRED's vintages. The key is in no message, log or representation.

    Attributes:
        api_key: from the environment unless given.
        series: FRED's names.
        hours: New York wall time of a series' release, such as 08:30 for CPIAUCSL; without one a figure counts as known
            from the end of its vintage day.
        root_url: FRED's own, or a server that answers like it.
        timeout: seconds that one answer may take.
        attempts: how often one page is asked for; `sleep` stands for the pauses between.
    """

    api_key: pydantic.SecretStr = field(default_factory=key_from_environment)
    series: tuple[str, ...] = SERIES
    hours: Mapping[str, time] = field(default_factory=dict)
    root_url: str = "https://api.stlouisfed.org/fred"
    timeout: float = 60.0
    attempts: int = 5
    sleep: Callable[[float], None] = clock.sleep
    name: str = "fred"
    simulated: bool = False

    def releases(self, start: datetime, end: datetime) -> pl.DataFrame:
        """RELEASES with `start` <= `released_at` < `end`, sorted by `known_at`; `value` is null where FRED has a dot.

        `released_at` is the first moment of the vintage day in New York, `known_at` the end of that day or the hour in
        `hours`. A period that was told before `start` counts its `revision` from 1. Ask from some three years before
        the first decision: changes over a year and their usual size need a past.

        Raises:
            ConfigError: a series that FRED does not know, or a key that it refuses.
            SourceError: no network, too many requests, or an answer that cannot be read.
        """
        frames = [self._series(code, start, end) for code in self.series]
        return pl.concat([pl.DataFrame(schema=RELEASES_SCHEMA), *frames]).sort("known_at", "series", "period", "revision")

    def _series(self, code: str, start: datetime, end: datetime) -> pl.DataFrame:
        client = self._client()
        days = [vintage.date() for vintage in self._ask(code, client.get_series_vintage_dates, quote(code, safe=""))]
        frames = [self._page(code, client, page) for page in _pages(sorted(days), start, end)]
        if not frames:
            return pl.DataFrame(schema=RELEASES_SCHEMA)
        rows = pl.concat(frames).sort("period", "vintage", maintain_order=True)
        before = pl.col("value").shift(1).over("period")
        again = pl.col("value").eq_missing(before) & (pl.col("period").cum_count().over("period") > 1)
        told = rows.filter(~again).with_columns(
            pl.lit(code).alias("series"),
            start_of_day(pl.col("vintage")).alias("released_at"),
            known_from(pl.col("vintage"), self.hours.get(code)).alias("known_at"),
        )
        return numbered(told).filter(pl.col("released_at") >= start, pl.col("released_at") < end)

    def _page(self, code: str, client: Fred, vintages: Sequence[date]) -> pl.DataFrame:
        """period, vintage and value of every figure that was in force between the first and the last of `vintages`."""
        span = (str(vintages[0]), str(vintages[-1]))
        answer = self._ask(code, client.get_series_all_releases, quote(code, safe=""), *span)
        # among dates, pandas makes a missing number a missing moment
        columns = ((), (), ()) if answer.empty else (answer["date"], answer["realtime_start"], answer["value"])
        return pl.DataFrame(
            {
                "period": pl.Series([day.date() for day in columns[0]], dtype=pl.Date),
                "vintage": pl.Series([day.date() for day in columns[1]], dtype=pl.Date),
                "value": pl.Series(
                    [value if isinstance(value, float) else None for value in columns[2]], dtype=pl.Float64
                ).fill_nan(None),
            }
        )

    def _client(self) -> Fred:
        from fredapi import Fred

        client = Fred(api_key=self.api_key.get_secret_value())
        client.root_url = self.root_url
        # its own one waits for ever, and loses the status code
        client._Fred__fetch_data = self._fetch  # noqa: SLF001 - the only door to the request
        return client

    def _ask(self, code: str, question: Callable[..., Any], *arguments: str) -> Any:
        """Put one question, again with growing pauses while FRED is busy; tell of failures in our words."""
        import tenacity

        again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=tenacity.wait_exponential_jitter(initial=1, max=_LONGEST_PAUSE),
            retry=tenacity.retry_if_exception_type(_BusyError),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return again(question, *arguments)
        except (_BusyError, _RefusedError) as error:
            raise _in_our_words(code, error) from None
        except (ValueError, TypeError, AttributeError) as error:  # whatever fredapi makes of a broken answer
            raise _in_our_words(code, _RefusedError(f"an answer that cannot be read ({type(error).__name__})")) from None

    def _fetch(self, url: str) -> ET.Element:
        """The root of FRED's answer. What is raised holds neither the URL nor the error that does: the key is in it."""
        try:
            with urlopen(self._with_key(url), timeout=self.timeout) as answer:  # noqa: S310 - the scheme of `root_url`
                return _whole(_parsed(answer.read()))
        except HTTPError as error:
            failure = self._refusal(error)
        except (URLError, OSError, HTTPException) as error:
            failure = _BusyError(self._hidden(f"no answer ({type(error).__name__}: {getattr(error, 'reason', error)})"))
        raise failure

    def _refusal(self, error: HTTPError) -> Exception:
        try:
            told = str(_parsed(error.read()).get("message", ""))
        except (_RefusedError, OSError, HTTPException):
            told = ""
        busy = error.code == _TOO_MANY or error.code >= _SERVER
        return (_BusyError if busy else _RefusedError)(self._hidden(f"HTTP {error.code} {told}".strip()))

    def _with_key(self, url: str) -> str:
        return f"{url}&{urlencode({'api_key': self.api_key.get_secret_value()})}"

    def _hidden(self, text: str) -> str:
        return text.replace(self.api_key.get_secret_value(), "[key]")


def _pages(vintages: Sequence[date], start: datetime, end: datetime) -> list[Sequence[date]]:
    """Parts of the vintages released in [start, end), led by the last one before; none where nothing new was released."""
    moments = [datetime.combine(day, time(), ZoneInfo(NEW_YORK)) for day in vintages]
    first = sum(moment < start for moment in moments)
    last = sum(moment < end for moment in moments)
    if first >= last:
        return []
    wanted = vintages[max(0, first - 1) : last]
    return [wanted[row : row + PAGE] for row in range(0, len(wanted), PAGE)]


def _parsed(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - from the one server that was chosen, over TLS
    except ET.ParseError:
        problem = "an answer that is not XML"
    raise _RefusedError(problem)


def _whole(root: ET.Element) -> ET.Element:
    """`root`, unless FRED says that it cut it: rows that are not there would be lost in silence."""
    count, limit = int(root.get("count", 0)), int(root.get("limit", 0))
    if count > limit > 0:
        raise _RefusedError(f"{limit} of {count} rows")
    return root


def _in_our_words(code: str, error: Exception) -> ConfigError | SourceError:
    told = str(error)
    thing = f"FRED series {code!r}"
    if "api_key" in told:
        return ConfigError(KEY, found=told, wanted="a key that FRED knows", mend=f"set {KEY} to the key of your FRED account")
    if "does not exist" in told or told.startswith("HTTP 404"):
        return ConfigError(thing, found=told, wanted="a series of fred.stlouisfed.org", mend="correct its name in the settings")
    if told.startswith(f"HTTP {_TOO_MANY}"):
        return SourceError(thing, found=told, wanted="fewer requests a minute", mend="run again in some minutes")
    return SourceError(
        thing,
        found=told,
        wanted="an answer in FRED's XML",
        mend="check the network and FRED's status, then run again; what is stored stays",
    )
