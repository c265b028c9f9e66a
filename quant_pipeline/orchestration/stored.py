"""What is damaged of what nobody can make again: bars, headlines and releases as they came, and emitted signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from quant_pipeline.errors import QuantError
from quant_pipeline.files import listed, verify
from quant_pipeline.orchestration.house import House


def damaged_stores(house: House) -> Iterator[tuple[str, str]]:
    """Which store of which symbol is damaged, and what its error says; one damaged file hides nothing of the others."""
    library = house.desk().library
    looks: dict[str, Callable[[], object]] = {}
    for symbol in house.universe.names:
        looks[f"raw bars of {symbol}"] = partial(_bars, house, symbol)
        looks[f"signals of {symbol}"] = partial(house.signals.read, symbol)
        if library and library.articles:
            looks[f"headlines of {symbol}"] = partial(library.articles.read, symbol)
    if library and library.releases:
        looks["releases"] = library.releases.read
    for name, look in looks.items():
        try:
            look()
        except QuantError as error:
            yield name, str(error)


def _bars(house: House, symbol: str) -> None:
    for interval in house.store.intervals(symbol):
        house.store.read(symbol, interval)
    for path in listed(house.store.folder(symbol), "**/*.json"):
        verify(path, "delete it: the source is then asked again")
