"""Which news feeds are read for which symbol: `feeds.yaml`, typed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import pydantic

from quant_pipeline.config.model import Settings, read_yaml
from quant_pipeline.errors import ConfigError

DEFAULT_FEEDS = Path(__file__).with_name("feeds.yaml")


@dataclass(frozen=True)
class Feed:
    """One address that answers with RSS or Atom; `name` is what ledgers and errors call it."""

    name: str
    url: str


class FeedSettings(Settings):
    """Providers by name, each an address with `{query}`, and for each symbol what to ask which provider."""

    providers: dict[str, str]
    symbols: dict[str, dict[str, tuple[str, ...]]]

    @pydantic.field_validator("providers")
    @classmethod
    def _addresses(cls, providers: dict[str, str]) -> dict[str, str]:
        for name, address in providers.items():
            if not address.startswith(("https://", "http://")) or "{query}" not in address:
                message = f"an http(s) address with {{query}} for provider {name}, not {address!r}"
                raise ValueError(message)
        return providers

    @pydantic.model_validator(mode="after")
    def _known_providers(self) -> Self:
        for symbol, asked in self.symbols.items():
            unknown = sorted(set(asked) - set(self.providers))
            if unknown:
                message = f"symbols.{symbol} asks only {', '.join(self.providers)} (unknown: {', '.join(unknown)})"
                raise ValueError(message)
        return self

    def of(self, symbol: str) -> tuple[Feed, ...]:
        """The feeds of a symbol, in the order of the file; raises `ConfigError` for a symbol without any.

        Example:
            >>> load_feeds().of("GC=F")[1]
            Feed(name='yahoo: GC=F', url='https://feeds.finance.yahoo.com/rss/2.0/headline?s=GC%3DF&region=US&lang=en-US')
        """
        asked = self.symbols.get(symbol, {})
        feeds = tuple(
            Feed(f"{provider}: {query}", self.providers[provider].replace("{query}", quote(query, safe="")))
            for provider, queries in asked.items()
            for query in queries
        )
        if feeds:
            return feeds
        near = difflib.get_close_matches(symbol, self.symbols, n=1, cutoff=0.4)
        raise ConfigError(
            f"news feeds of {symbol!r}", found="none", wanted=f"an entry as {near[0] if near else 'other symbols'} has",
            mend="add the symbol under `symbols` in feeds.yaml, such as {google: [gold price news]}",
        )  # fmt: skip


def load_feeds(path: Path = DEFAULT_FEEDS) -> FeedSettings:
    """Read a feeds file; raises `ConfigError` for an unreadable one, an unknown key or provider, or a bad address."""
    return FeedSettings.parse(read_yaml(path), path.name)
