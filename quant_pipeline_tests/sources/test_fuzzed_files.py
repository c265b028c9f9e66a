"""Bar files spoiled at random: each is read right, or refused in our words; never a traceback of others, never nonsense."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import QuantError
from quant_pipeline.sources.dialect import read_bars
from quant_pipeline.sources.epochs import EARLIEST, latest
from quant_pipeline.sources.spacing import check_spacing

START = datetime(2025, 7, 1, 13, 30, tzinfo=UTC)
ROWS = 60
HEADER = "timestamp,open,high,low,close,volume"
SEEDS = 40  # 10,000 files were tried once
Lines = list[str]


def good() -> Lines:
    return [
        HEADER,
        *(f"{START + timedelta(minutes=row):%Y-%m-%d %H:%M:%S}Z,{_prices(100.5 + row)},{row + 1}" for row in range(ROWS)),
    ]


def _prices(price: float) -> str:
    return f"{price},{price + 2},{price - 2},{price + 1}"


def _text(lines: Lines) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def flip(lines: Lines, dice: random.Random) -> bytes:
    content = bytearray(_text(lines))
    for _ in range(dice.randint(1, 8)):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def swap_columns(lines: Lines, dice: random.Random) -> Lines:
    order = dice.sample(range(6), 6)
    first = dice.choice([0, 0, dice.randrange(ROWS)])  # the whole file, or from some line on
    return [*lines[:first], *(",".join(line.split(",")[place] for place in order) for line in lines[first:])]


def cut_lines(lines: Lines, dice: random.Random) -> Lines:
    kept = [line if dice.random() < 0.9 else line[: dice.randrange(len(line))] for line in lines]
    return [line for line in kept if dice.random() < 0.9]


def cut_off(lines: Lines, dice: random.Random) -> bytes:
    content = _text(lines)
    return content[: dice.randrange(len(content))]


def shift_stamps(lines: Lines, dice: random.Random) -> Lines:
    span = timedelta(seconds=dice.choice([1, 30, 3_600, 86_400, 10**9, -(10**9)]))
    return [HEADER, *(_stamped(line, f"{_moment(line) + span * (dice.random() < 0.5):%Y-%m-%d %H:%M:%S}Z") for line in lines[1:])]


def mix_units(lines: Lines, dice: random.Random) -> Lines:
    units = dice.sample([1, 10**3, 10**6, 10**9, 10**5, 60], 2)
    return [HEADER, *(_stamped(line, str(int(_moment(line).timestamp()) * dice.choice(units))) for line in lines[1:])]


def repeat_and_shuffle(lines: Lines, dice: random.Random) -> Lines:
    return [HEADER, *dice.choices(lines[1:], k=2 * ROWS)]


def odd_values(lines: Lines, dice: random.Random) -> Lines:
    odd = ["", "nan", "inf", "-1", "1e309", "1,5", "\u0665", '"', "0x1F", "None", " 7 ", "\x00", "2025-07-01"]
    return [
        HEADER,
        *(",".join(dice.choice(odd) if dice.random() < 0.02 else cell for cell in line.split(",")) for line in lines[1:]),
    ]


def _stamped(line: str, stamp: str) -> str:
    return f"{stamp},{line.partition(',')[2]}"


def _moment(line: str) -> datetime:
    return datetime.fromisoformat(line.partition(",")[0])


MUTATIONS: list[Callable[[Lines, random.Random], Lines | bytes]] = [
    flip, swap_columns, cut_lines, cut_off, shift_stamps, mix_units, repeat_and_shuffle, odd_values,
]  # fmt: skip


def read(path: Path, settings: FileFormat) -> pl.DataFrame | None:
    """The bars, or None where they are refused with a mend."""
    try:
        bars = read_bars(path, settings, "SPY")
        check_spacing(bars["timestamp"], settings.interval, settings.length, path.name)
    except QuantError as error:
        return None if "To mend: " in str(error) and "Error:" not in str(error) else pytest.fail(f"in no words of ours: {error}")
    return bars


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("settings", [FileFormat(), FileFormat(decimal=","), FileFormat(stamp="close", timezone="Europe/Athens")])
def test_spoiled_text(tmp_path, mutation, settings):
    path = tmp_path / "SPY_1m.csv"
    for seed in range(SEEDS):
        spoiled = mutation(good(), random.Random(seed))
        path.write_bytes(spoiled if isinstance(spoiled, bytes) else _text(spoiled))
        bars = read(path, settings)
        if bars is not None:
            assert 0 < bars.height <= 2 * ROWS
            assert bars["timestamp"].is_between(EARLIEST - timedelta(days=1), latest()).all()


def test_mixed_units_are_read_to_the_last_row_or_refused(tmp_path):
    path, taken = tmp_path / "SPY_1m.csv", 0
    for seed in range(SEEDS):
        path.write_bytes(_text(mix_units(good(), random.Random(seed))))
        bars = read(path, FileFormat())
        if bars is not None:
            assert bars["timestamp"].to_list() == [START + timedelta(minutes=row) for row in range(ROWS)]
            taken += 1
    assert 0 < taken < SEEDS


def test_spoiled_parquet(tmp_path):
    path = tmp_path / "SPY_1m.parquet"
    pl.read_csv("\n".join(good()).encode(), try_parse_dates=True).write_parquet(path)
    content = path.read_bytes()
    for seed in range(SEEDS):
        dice = random.Random(seed)
        path.write_bytes(content[: dice.randrange(len(content))])
        assert read(path, FileFormat()) is None
