"""What `quant doctor` looks at: each finding is (check, good, words)."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from quant_pipeline import plugins
from quant_pipeline.config.commands import command
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.errors import DamagedError, QuantError
from quant_pipeline.files import listed, verify
from quant_pipeline.orchestration.house import House, make_house
from quant_pipeline.orchestration.lists import plugin_lines
from quant_pipeline.orchestration.reach import PROVIDERS, reach
from quant_pipeline.orchestration.row_ledger import ledger_lines
from quant_pipeline.orchestration.stored import damaged_stores

Finding = tuple[str, bool, str]
LIBRARIES = (
    "dagster", "polars", "numba", "lightgbm", "optuna", "pandas_market_calendars", "yfinance", "duckdb", "torch",
    "transformers", "h5py", "hmmlearn", "PyWavelets",
)  # fmt: skip
ROOM_NEEDED = 2 * 2**30


def examine() -> list[Finding]:
    """All findings, in the order a newcomer would mend them."""
    house, configuration = _configuration()
    return [
        ("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        configuration,
        *_libraries(),
        *(_place(house) if house else []),
    ]


def _configuration() -> tuple[House | None, Finding]:
    try:
        house = make_house()
    except QuantError as error:
        return None, ("configuration", False, str(error))
    return house, (
        "configuration",
        True,
        f"{len(house.universe.symbols)} symbols, experiment {house.experiment.name}, profile {house.workplace.profile}",
    )


def _libraries() -> Iterator[Finding]:
    for name in LIBRARIES:
        try:
            yield name, True, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, False, f"not installed; run: pip install -c constraints.txt {name}"


def _place(house: House) -> Iterator[Finding]:
    room = shutil.disk_usage(_existing(house.workplace.data)).free
    yield (
        "disk",
        room > ROOM_NEEDED,
        f"{room / 2**30:.1f} GiB free under {house.workplace.data}; {ROOM_NEEDED / 2**30:.0f} GiB wanted",
    )
    yield _guarded("source", lambda: _source(house))
    if house.workplace.profile in PROVIDERS:
        yield _guarded("provider", lambda: reach(house.workplace.profile))
    families = house.experiment.features.families
    if "news" in families:
        yield _guarded("news", lambda: _news(house))
    if "macro" in families:
        yield _guarded("macro", lambda: _macro(house))
    if os.environ.get(plugins.VARIABLE):
        yield _guarded("plugins", lambda: "; ".join(plugin_lines(house.experiment)) or "no Python file")
    yield _guarded("telegram", _telegram)
    yield _guarded("planted leaks", _leaks)
    for symbol in house.universe.symbols:
        yield from _symbol(house, symbol)
    yield from ((name, False, text) for name, text in damaged_stores(house))
    yield from _champions(house)


def _symbol(house: House, symbol: str) -> Iterator[Finding]:
    """What is stored of `symbol`; one damaged file hides nothing of the others."""
    ledger = _guarded(f"bars of {symbol}", lambda: "; ".join(ledger_lines(house, symbol)))
    if ledger[-1]:
        yield ledger
    yield from ((f"tables of {symbol}", False, line) for line in _damaged(house, symbol))
    for asset, line in _warned(house, symbol):
        yield asset, False, line


def _damaged(house: House, symbol: str) -> Iterator[str]:
    try:
        tables = [path for path in listed(house.workplace.lake, "**/*.parquet") if path.stem == symbol]
    except DamagedError as error:
        yield str(error)
        return
    for table in tables:
        try:
            verify(table, "run: " + command(f"quant run '{symbol}'") + ", which makes it again")
        except DamagedError as error:
            yield str(error)


def _champions(house: House) -> Iterator[Finding]:
    from quant_pipeline.inference.bundle import verify_bundle

    live = []
    for symbol in house.universe.symbols:
        try:
            bundle = house.champions.live_at(symbol, house.workplace.now())
            live += [symbol] if bundle else []
            if bundle:
                verify_bundle(house.workplace.bundles / symbol / bundle)
        except QuantError as error:
            yield "champions", False, str(error)
    yield "champions", True, ", ".join(live) or f"none yet; `{command('quant run GC=F')}` makes one"


def _source(house: House) -> str:
    known = {interval for symbol in house.universe.names for interval in house.source.intervals(symbol)}
    return f"{house.source.name}: {', '.join(sorted(known, key=minutes))}"


def _warned(house: House, symbol: str) -> Iterator[tuple[str, str]]:
    from quant_pipeline.orchestration.showing import WARNINGS

    for tell in WARNINGS:
        with suppress(DamagedError):  # told with the other tables
            if line := tell(house, symbol):
                yield line.partition(" of ")[0].removesuffix(" failed"), line


def _news(house: House) -> str:
    from quant_pipeline.features.text.encoder import encoder_folder
    from quant_pipeline.orchestration.library import ABSENT, has_news

    name = house.experiment.news.encoder
    return f"encoder {name} in {encoder_folder(name)}" if has_news(house) else ABSENT


def _macro(house: House) -> str:
    from quant_pipeline.orchestration.library import ABSENT, macro_source

    source = macro_source(house)
    return f"releases from {type(source).__name__}" if source else ABSENT


def _telegram() -> str:
    from quant_pipeline.monitoring.telegram import from_environment

    client = from_environment(os.environ)
    return f"alerts go to {client!r}" if client else "no QUANT_TELEGRAM_TOKEN: alerts go to the log"


def _leaks() -> str:
    from quant_pipeline.validation.leaks import LEAKS, uncaught

    missed = uncaught()
    if missed:
        raise QuantError(
            "planted leaks", found=f"{', '.join(missed)} not caught", wanted="all caught", mend="do not trust this installation"
        )
    return f"{len(LEAKS)} of {len(LEAKS)} caught"


def _guarded(name: str, tell: Callable[[], str]) -> Finding:
    try:
        return name, True, tell()
    except QuantError as error:
        return name, False, str(error)


def _existing(path: Path) -> Path:
    return next(place for place in [path.absolute(), *path.absolute().parents] if place.exists())
