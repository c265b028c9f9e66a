"""YAML's surprises: none of them reaches a setting."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from quant_pipeline.config.experiment import EXPERIMENTS, Experiment
from quant_pipeline.config.model import read_yaml
from quant_pipeline.config.plain_yaml import read_mapping
from quant_pipeline.config.universe import DEFAULT_UNIVERSE, Universe
from quant_pipeline.errors import ConfigError

SHIPPED = [*EXPERIMENTS.parent.glob("*.yaml"), *EXPERIMENTS.glob("*.yaml")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("4:1", "4:1"), ("010", "010"), ("no", "no"), ("on", "on"), ("0x10", "0x10"), ("1:30:00", "1:30:00"), ("true", True),
        ("-5", -5), ("1_000", 1000), ("1e9", 1e9), ("2.5", 2.5), (".5", 0.5), ("-.inf", float("-inf")), ("null", None),
        ("'5'", "5"), ("0", 0),
    ],
)  # fmt: skip
def test_scalars_are_what_they_look_like(written, read):
    found = read_mapping(f"a: {written}")["a"]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_our_own_files_say_the_same_to_every_reader(path: Path):
    assert read_mapping(path.read_text()) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 7\nlabels: {tp_atr: 2}\nseed: 8\n", "the key 'seed' a second time, on line 3"),
        ("labels:\n  tp_atr: 2\n  tp_atr: 3\n", "the key 'tp_atr' a second time, on line 3"),
        ("features: " + "[" * 5_000 + "]" * 5_000, "brackets inside each other"),
        ("seed: 7\n\tprimary: 1h", "line 2"),
        ("- a\n- b", "list, no mapping of keys to values"),
        ("", "NoneType, no mapping"),
        ("a: " + "9" * 5_000, "digits"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as told:
        read_yaml(path)
    assert str(told.value).startswith(f"{path}: found ")
    assert "\n" not in str(told.value)


def experiment(changed: str) -> Experiment:
    name, _, value = changed.partition(": ")
    least = {"name": "mine", "features": {"families": ["returns"]}, "models": [{"name": "logistic"}]}
    return Experiment.parse(least | read_mapping(f"{name}: {value}"), "mine.yaml")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("seed: true", "seed: found True, wanted a number"),
        ("seed: yes", "seed: found 'yes', wanted a valid integer"),
        ("drift: {psi: true}", "drift.psi: found True, wanted a number"),
        ("drift: {psi: .inf}", "drift.psi: found inf, wanted a finite number"),
        ("ensemble: {alpha: .inf}", "ensemble.alpha: found inf"),
        ("history_days: 3650000", "history_days: found 3650000, wanted less than or equal to 36500"),
        ("history_days: 1:40", "history_days: found '1:40', wanted a valid integer"),
        ("signal: {max_staleness: 5}", "signal.max_staleness: found 5, wanted a whole number and its unit, such as 30m"),
        ("signal: {max_staleness: 4:1}", "signal.max_staleness: found '4:1', wanted a whole number and its unit"),
        ("signal: {max_staleness: 5min}", "signal.max_staleness: found '5min', wanted a whole number and its unit"),
        ("splits: {embargo: 9999999999d}", "splits.embargo: found '9999999999d', wanted a number .1 to 99999. and one of"),
        ("primary: ²h", "primary: found '²h', wanted a number .1 to 99999. and one of"),
        ("macro: {hours: {CPIAUCSL: 8:30}}", "macro.hours.CPIAUCSL: found '8:30'"),
        ("macro: {hours: {CPIAUCSL: '08:30Z'}}", "a time without offset for CPIAUCSL"),
        ("macro: {lag_days: {CPIAUCSL: 1000000000000}}", "at most 3650 days for CPIAUCSL"),
        ("macro: {lag_days: {DGS10: true}}", "macro.lag_days: found .*, wanted a number"),
        ("calibration: {methods: []}", "calibration.methods"),
        ("ladder: [1m, 1h, 1h]", "name each rung once"),
        ("ladder: [1m, 60m, 1h]", "name each rung once"),
        ('name: "a\\0b"', "name: found"),
        ('name: "a\\nb"', "name: found"),
        (f"name: {'🙂' * 50}", "name: found"),
        ("features: {families: [returns], zscore_window: 20}", r"zscore_min_periods \(50\) at most zscore_window \(20\)"),
    ],
)  # fmt: skip
def test_settings_that_are_none_are_refused_by_name(changed, words):
    with pytest.raises(ConfigError, match=f"mine.yaml: .*{words}" if ": found" not in words else f"mine.yaml: {words}"):
        experiment(changed)


def test_what_is_written_in_another_way_is_still_what_it_says():
    assert experiment("seed: 010").seed == 10
    assert experiment("signal: {alert: all, max_staleness: PT4M}").signal.max_staleness.seconds == 240
    assert experiment("drift: {psi: 1e1}").drift.psi == 10


def test_a_ratio_needs_no_quotes():
    told = DEFAULT_UNIVERSE.read_text().replace("description: Apple Inc.", "adjustments: [{date: 2020-08-31, ratio: 4:1}]")
    assert Universe.parse(read_mapping(told), "mine.yaml").symbols["AAPL"].adjustments[0].factor == 4


@pytest.mark.parametrize("others", ["[GC=F]", "[SPY, SPY]"])
def test_a_symbol_is_correlated_with_others_once(others):
    told = DEFAULT_UNIVERSE.read_text().replace("[BTC-USD, CL=F, SPY, ^IRX]", others)
    with pytest.raises(ConfigError, match="correlated names others, each once"):
        Universe.parse(read_mapping(told), "mine.yaml")


def test_a_symbol_is_traded_or_auxiliary():
    told = DEFAULT_UNIVERSE.read_text() + "  SPY: {calendar: NYSE}\n"
    with pytest.raises(ConfigError, match="SPY once, under symbols"):
        Universe.parse(read_mapping(told), "mine.yaml")
