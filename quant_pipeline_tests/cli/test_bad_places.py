"""Missing inputs, damaged bundles, a full disk, Telegram down, Yahoo silent: a clear line, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import polars as pl
import pytest

from quant_pipeline.errors import BundleError, ConfigError, DataError, MissingUpstreamError, QuantError, SourceError, StorageError
from quant_pipeline.files import write_parquet
from quant_pipeline.sources import yahoo

SYMBOL = "BTC-USD"
NO_TELEGRAM = {"QUANT_TELEGRAM_TOKEN": "1:secret", "QUANT_TELEGRAM_CHAT": "42", "QUANT_TELEGRAM_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("bars/1h/BTC-USD", "quant materialize 'raw_bars/BTC-USD'"),
        ("features/BTC-USD", "quant materialize 'bars/"),
        ("models/logistic/BTC-USD/fold_00", "quant materialize 'bars/1h/BTC-USD'"),
        ("meta_learner/BTC-USD", "quant materialize 'labels/BTC-USD'"),
        ("champion/BTC-USD", "quant materialize 'bars/1h/BTC-USD'"),
        ("drift_report/BTC-USD", "quant train 'BTC-USD'"),
    ],
)
def test_a_missing_input_names_the_command_that_makes_it(quant, refused, bare_home, target, command):
    refused(quant(bare_home, "materialize", target), MissingUpstreamError, command)
    assert bare_home.contents() == {}


def test_a_missing_fold_names_the_command_that_makes_it_and_the_command_works(quant, refused, home):
    (home.lake / "oof_predictions" / "fold_01" / f"{SYMBOL}.parquet").unlink()
    told = refused(
        quant(home, "materialize", f"meta_learner/{SYMBOL}"), MissingUpstreamError, "oof_predictions of BTC-USD/fold_01"
    )
    command = told.partition("run: quant ")[2].replace("'", "").split()
    assert quant(home, *command).exit_code == 0
    assert quant(home, "materialize", f"meta_learner/{SYMBOL}").exit_code == 0


def test_without_a_report_the_command_is_named(quant, refused, home_of_nothing):
    refused(quant(home_of_nothing, "report", SYMBOL), MissingUpstreamError, "quant train 'BTC-USD'")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["manifest.json", "meta.json", "reference.parquet", "models/logistic/model.json"])
def test_a_bundle_with_one_flipped_byte_makes_no_signal(quant, refused, home, name):
    folder = next((home.house().workplace.bundles / SYMBOL).glob("*/manifest.json")).parent
    flip(folder / name)
    before = home.contents()
    for command in (("materialize", f"signals/{SYMBOL}"), ("predict", SYMBOL)):
        refused(quant(home, *command, "--as-of", "2026-11-18T10:45:00+00:00"), BundleError, f"{folder.name}/{name}")
    after = home.contents()
    raw = f"{home.house().workplace.raw.relative_to(home.data)}/"
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key) and not key.startswith(raw)} == set()


def test_a_model_with_one_flipped_byte_makes_no_bundle(quant, refused, home):
    flip(home.lake / "models" / "lightgbm" / "holdout" / SYMBOL / "model.json")
    before = home.contents()
    refused(quant(home, "materialize", f"bundle/{SYMBOL}"), BundleError, f"lightgbm/holdout/{SYMBOL}/model.json")
    assert home.contents() == before


@pytest.mark.parametrize(
    ("file", "target"), [("labels/BTC-USD.parquet", "splits"), ("raw/BTC-USD/1m/2026-09.parquet", "bars/1h")]
)
def test_a_truncated_table_is_named(quant, refused, home, file, target):
    path = next(path for path in (home.lake / file, home.house().workplace.shared / file) if path.exists())
    path.write_bytes(path.read_bytes()[:300])
    before = home.contents()
    refused(quant(home, "materialize", f"{target}/{SYMBOL}"), DataError, file, "damaged")
    assert home.contents() == before


def fill(disk: Path) -> Path:
    """Leave not a byte of room."""
    ballast = disk / "ballast"
    handle = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while os.write(handle, bytes(4096)):
            pass
    os.close(handle)
    assert shutil.disk_usage(disk).free < 4096
    return ballast


@pytest.mark.parametrize("size", [2, 5])
def test_a_disk_that_fills_up_stops_the_run_with_nothing_half_written(quant, refused, home_of_nothing, small_disk, size):
    disk = small_disk(size)
    home = home_of_nothing.copy(disk / "home")
    refused(quant(home, "run", SYMBOL), StorageError, "free space")
    assert not list(disk.rglob(".partial*"))
    for path in home.lake.rglob("*.parquet"):
        pl.read_parquet(path)
    subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    for target in ("raw_bars", "bars/1m"):
        assert quant(home, "materialize", f"{target}/{SYMBOL}").exit_code == 0


def test_a_full_disk_stops_inference_and_loses_nothing(quant, refused, trained_home, small_disk):
    disk = small_disk(40)
    home = trained_home.copy(disk / "home")
    before, ballast = home.contents(), fill(disk)
    for command in ("predict", "run"):
        refused(quant(home, command, SYMBOL), StorageError, "free space")
    assert quant(home, "report", SYMBOL).exit_code == 0
    assert home.contents() == before
    ballast.unlink()
    assert quant(home, "predict", SYMBOL, "--as-of", "2026-11-18T12:10:00+00:00").exit_code == 0
    assert len(home.house().signals.read(SYMBOL)) == 2


def test_telegram_down_stops_no_signal(quant, home):
    result = quant(home, "predict", SYMBOL, "--as-of", "2026-11-18T12:10:00+00:00", **NO_TELEGRAM)
    assert result.exit_code == 0
    assert "2026-11-18 12:00 UTC" in result.output
    assert len(home.house().signals.read(SYMBOL)) == 2


class Yahoo:
    """Answers like yfinance; `silent` tells of which pages nothing comes."""

    def __init__(self, silent) -> None:
        self.silent = silent

    def __call__(self, symbol: str, interval: str, start, end) -> pd.DataFrame:
        assert symbol == SYMBOL
        answer = self.silent(interval, start)
        if answer is not None:
            return answer
        index = pd.date_range(
            start, end, freq={"1m": "1min", "15m": "15min", "1h": "1h"}[interval], tz="UTC", inclusive="left"
        ).ceil("1min")
        price = 100 + np.sin(index.astype("int64") / 6e13)
        columns = {"Open": price, "High": price + 1, "Low": price - 1, "Close": price, "Volume": 5}
        return pd.DataFrame(columns, index=index)


@pytest.fixture
def answering(monkeypatch, trained_home):
    """Lets Yahoo answer so from now on."""
    original = yahoo.YahooSource

    def use(silent) -> None:
        made = partial(original, download=Yahoo(silent), clock=lambda: trained_home.as_of, sleep=lambda _: None, attempts=2)
        monkeypatch.setattr(yahoo, "YahooSource", made)

    return use


def yahoo_ledger(home) -> dict:
    house = home.house()
    with home.open(replace(house, workplace=replace(house.workplace, profile="yahoo"))) as instance:
        made = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=dg.AssetKey("raw_bars")), limit=1).records[0]
    return made.asset_materialization.metadata["ledger"].value


def test_yahoo_answering_nothing_is_an_error(quant, refused, bare_home, answering):
    answering(lambda *_: pd.DataFrame())
    refused(
        quant(bare_home, "materialize", f"raw_bars/{SYMBOL}", "--profile", "yahoo"),
        SourceError,
        "yahoo: BTC-USD 1m",
        "an empty answer",
    )
    assert bare_home.contents() == {}


def test_yahoo_failing_is_an_error(quant, refused, bare_home, answering):
    def fail(*_: object) -> None:
        raise ConnectionError("reset by\npeer")

    answering(fail)
    refused(quant(bare_home, "materialize", f"raw_bars/{SYMBOL}", "--profile", "yahoo"), SourceError, "ConnectionError")
    assert bare_home.contents() == {}


def test_yahoo_answering_half_keeps_the_half_and_fetches_the_rest_later(quant, bare_home, answering):
    late = bare_home.as_of - timedelta(days=9)
    answering(lambda interval, start: pd.DataFrame() if interval == "1m" and start < late else None)
    assert quant(bare_home, "materialize", f"raw_bars/{SYMBOL}", "--profile", "yahoo").exit_code == 0
    first = yahoo_ledger(bare_home)
    assert first["notes"]["partial"]
    assert "1m: yahoo: BTC-USD 1m" in first["notes"]["problems"][0]
    assert first["rows_out"] > 5_000
    half = bare_home.contents()

    answering(lambda *_: None)
    assert quant(bare_home, "materialize", f"raw_bars/{SYMBOL}", "--profile", "yahoo").exit_code == 0
    second = yahoo_ledger(bare_home)
    assert not second["notes"]["partial"]
    assert second["rows_out"] > 10_000
    assert set(half) <= set(bare_home.contents())


def spoil(path: Path, damage: str) -> None:
    """A file with one flipped bit, without its end, without anything, or a folder in its place."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.unlink()
    if damage == "folder":
        path.mkdir()
        return
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": content[:middle], "empty": b""}[damage])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_run_makes_a_damaged_table_again(home, damage):
    path = home.lake / "skill_report" / f"{SYMBOL}.parquet"
    before = path.read_bytes()
    spoil(path, damage)
    with home.runner() as runner:
        assert f"skill_report|{SYMBOL}" in runner.run(SYMBOL).made
    assert path.read_bytes() == before


def test_a_run_makes_a_damaged_bundle_again_as_it_was(quant, home):
    (path,) = home.data.glob("bundles/**/trees.txt")
    before = path.read_bytes()
    spoil(path, "flip")
    assert quant(home, "predict", SYMBOL).exit_code == 1
    with home.runner() as runner:
        assert f"bundle|{SYMBOL}" in runner.run(SYMBOL).made
    assert path.read_bytes() == before
    assert quant(home, "replay", SYMBOL).exit_code == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
@pytest.mark.parametrize(
    ("file", "command", "kind"),
    [
        ("lake/**/experiments/tiny/ledgers/BTC-USD.json", "doctor", None),
        ("lake/**/experiments/tiny/bundle/BTC-USD.parquet", "report", DataError),
        ("lake/**/test_uses/BTC-USD.jsonl", "report", DataError),
        ("dagster/**/schedules.db", "predict", StorageError),
    ],
)
def test_a_damaged_record_is_named(quant, refused, home, file, command, kind, damage):
    (path,) = home.data.glob(file)
    if path.suffix in {".jsonl", ".db"} and damage in {"flip", "empty"}:
        pytest.skip("records of lines hold no checksum, and an empty one or a spare page says nothing")
    spoil(path, damage)
    result = quant(home, command, *([] if command == "doctor" else [SYMBOL]))
    if kind is not None:
        refused(result, kind)
    assert "Traceback" not in result.output


def misplace(path: Path, wrong: str) -> None:
    """Put a file, an empty file, a folder or a link to nothing in the place of `path`."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if wrong == "folder":
        path.mkdir()
    elif wrong == "dead link":
        path.symlink_to("/no/where")
    else:
        path.write_text("x" if wrong == "file" else "")


@pytest.mark.parametrize(
    ("place", "wrong", "word"),
    [
        ("bundles/**/champions/BTC-USD.jsonl", "dead link", "restore the file"),
        ("bundles/**/champions/BTC-USD.jsonl", "empty", "restore the file"),
        ("bundles/**/champions", "file", "champions: found a damaged file"),
        ("lake/**/raw/.lock", "folder", ".lock away"),
        ("dagster/**/history/runs/index.db", "folder", "index.db away"),
        ("dagster/**/tiny/history", "file", "history"),
        ("lake/**/cutoffs", "file", "cutoffs: found a damaged file"),
    ],
)
def test_what_stands_in_the_wrong_place_stops_a_prediction_in_one_line(quant, refused, home, place, wrong, word):
    if place.endswith("cutoffs"):
        path = home.lake / "cutoffs"
    else:
        (path,) = home.data.glob(place)
    misplace(path, wrong)
    told = refused(quant(home, "predict", SYMBOL), QuantError, word)
    assert "free space" not in told


@pytest.mark.parametrize("wrong", ["x: [", "x: 1", "- a", "storage: 5", "\x00", "dead link", "folder"])
def test_settings_of_dagster_that_cannot_be_read_are_named(quant, refused, home_of_nothing, tmp_path, wrong):
    home = home_of_nothing.copy(tmp_path / "home")
    settings = home.root / "dagster.yaml"
    settings.unlink()
    if wrong == "folder":
        settings.mkdir()
    elif wrong == "dead link":
        settings.symlink_to("/no/where")
    else:
        settings.write_text(wrong)
    refused(quant(home, "predict", SYMBOL), ConfigError, "dagster.yaml", "restore the file")


def test_a_report_of_another_version_names_the_command_that_makes_it(quant, refused, home):
    path = home.lake / "skill_report" / f"{SYMBOL}.parquet"
    write_parquet(path, pl.read_parquet(path).drop("looks"))
    refused(quant(home, "report", SYMBOL), DataError, "other columns than this version writes: looks", "quant materialize")
