from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.config.universe import DEFAULT_UNIVERSE, Costs, FileFormat, Universe, load_universe
from quant_pipeline.errors import ConfigError

GOLD = {
    "calendar": "CMEGlobex_GC",
    "costs": {"fee_bps": 10},
    "risk": {"max_leverage": 3, "max_drawdown_pct": 15, "max_position_pct": 25},
}


def parse(**changed: object) -> Universe:
    return Universe.parse({"symbols": {"GC=F": {**GOLD, **changed}}}, "universe.yaml")


def test_the_shipped_universe_has_the_six_symbols_and_what_they_read():
    universe = load_universe()
    assert list(universe.symbols) == ["GC=F", "BTC-USD", "CL=F", "SPY", "QQQ", "AAPL"]
    assert set(universe.auxiliary) == {"^IRX", "^TNX", "DX-Y.NYB"}
    assert universe.names == (*universe.symbols, *universe.auxiliary)


@given(fee=st.floats(0, 100), spread=st.floats(0, 100), slippage=st.floats(0, 100))
def test_the_round_trip_pays_both_sides_and_the_spread_once(fee, spread, slippage):
    paid = fee + slippage + spread + fee + slippage
    assert Costs(fee_bps=fee, spread_bps=spread, slippage_bps=slippage).round_trip == pytest.approx(paid * 1e-4)


@pytest.mark.parametrize(("name", "near"), [("GCF", "GC=F"), ("btc-usd", "BTC-USD"), ("AAPLE", "AAPL")])
def test_a_symbol_that_is_nearly_right_gets_the_right_one(name, near):
    with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
        load_universe().symbol(name)


def test_a_symbol_like_no_other_gets_the_way_to_add_it():
    with pytest.raises(ConfigError, match=r"add it to universe\.yaml"):
        load_universe().symbol("ZZZZ")


def test_auxiliary_series_are_read_and_not_traded():
    universe = load_universe()
    assert universe.instrument("^TNX").calendar == "NYSE"
    with pytest.raises(ConfigError):
        universe.symbol("^TNX")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"calendar": "NYSEE"}, r"calendar: found 'NYSEE', wanted a pandas-market-calendars name, such as NYSE"),
        ({"correlated": ["XYZ"]}, r"symbols\.GC=F\.correlated names only symbols of this file \(unknown: XYZ\)"),
        ({"costs": {"fee_bps": -1}}, r"costs\.fee_bps: found -1"),
        ({"costs": {}}, r"costs\.fee_bps: found nothing"),
        ({"risk": {**GOLD["risk"], "max_leverage": 0}}, r"risk\.max_leverage: found 0"),
        ({"files": {"stamp": "middle"}}, r"files\.stamp: found 'middle'"),
        ({"calender": "NYSE"}, r"write 'calendar' instead"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(changed, told):
    with pytest.raises(ConfigError, match=told):
        parse(**changed)


def test_another_file_takes_the_place_of_the_shipped_one(tmp_path, monkeypatch):
    own = tmp_path / "mine.yaml"
    own.write_text(yaml.safe_dump({"symbols": {"ETH-USD": {**GOLD, "calendar": "24/7"}}}))
    monkeypatch.setenv("QUANT_UNIVERSE", str(own))
    assert load_universe().names == ("ETH-USD",)
    assert "GC=F" in load_universe(DEFAULT_UNIVERSE).names


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"interval": "1w"}, r"files\.interval.*'1w'.*at most 1d"),
        ({"interval": "90s"}, r"files\.interval.*'90s'"),
        ({"time_format": "%H:%M"}, r"files\.time_format.*year, month and day"),
        ({"time_format": "dd.mm.yyyy"}, r"files\.time_format.*year, month and day"),
        ({"time_format": "%Y%m%d%H%M%S%f"}, r"files\.time_format.*a fraction of seconds is"),
        ({"decimal": ";"}, r"files\.decimal"),
        ({"skip_lines": -1}, r"files\.skip_lines"),
        ({"timezone": "Mars/Base"}, r"files\.timezone.*'Mars/Base'.*America/New_York\+7h"),
        ({"timezone": "America/New_York+99h"}, r"files\.timezone.*at most 14 hours"),
        ({"timezone": "UTC-15h"}, r"files\.timezone.*at most 14 hours"),
        ({"timezone": "+7.5h"}, r"files\.timezone"),
        ({"timezone": ""}, r"files\.timezone"),
        ({"timezone": "localtime"}, r"files\.timezone.*a zone such as"),
        ({"timezone": "right/UTC"}, r"files\.timezone.*a zone such as"),
        ({"time_format": "%d/%m/%Y %H:%M %Z"}, r"files\.time_format.*the zone into files\.timezone"),
        ({"symbol": ""}, r"files\.symbol"),
        ({"columns": {"a": "close", "b": "close"}}, r"files\.columns.*one column for each of ours.*2 are close"),
        ({"columns": {1: "timestamp", 2: "timestamp", 3: "timestamp"}}, r"files\.columns.*3 are timestamp"),
    ],
)
def test_a_file_format_that_cannot_be(files, words):
    with pytest.raises(ConfigError, match=words):
        Universe.parse({"symbols": {}, "auxiliary": {"X": {"calendar": "NYSE", "files": files}}}, "mine.yaml")


@pytest.mark.parametrize(
    ("interval", "native", "seconds"), [("1s", "1m", 1), ("30s", "1m", 30), ("1m", "1m", 60), ("1d", "1d", 86_400)]
)
def test_the_native_interval_and_the_length_of_a_file(interval, native, seconds):
    settings = FileFormat(interval=interval)
    assert (settings.native, settings.length.total_seconds()) == (native, seconds)
    assert FileFormat.parse({"columns": {1: "timestamp"}, "symbol": 7}, "f").columns == {"1": "timestamp"}


@pytest.mark.parametrize("name", ["^GSPC", "GC=F", "BRK.B", "EURUSD=X", "M6E", "DX-Y.NYB", "600519.SS", "C_1+2"])
def test_a_name_that_exchanges_use_is_taken(name):
    assert Universe.parse({"symbols": {name: GOLD}}, "mine.yaml").names == (name,)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("A|B", "A-B"),
        ("A,B", "A-B"),
        ("[A]", "A"),
        ("A...B", "A.B"),
        ("../A", "A"),
        ("", "BTC-USDT"),
        ("-A", "A"),
        ("A B", "A-B"),
        ("A\n", "A"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "BTC-USDT"),
        ("A" * 41, "A" * 40),
    ],
)
@pytest.mark.parametrize("part", ["symbols", "auxiliary"])
def test_a_name_that_paths_partitions_or_shells_would_change_is_refused_with_one_that_can_be(part, name, near):
    entry = GOLD if part == "symbols" else {"calendar": "24/7"}
    with pytest.raises(ConfigError, match="such as") as told:
        Universe.parse({"symbols": {}, part: {name: entry}}, "mine.yaml")
    assert f"such as {near};" in str(told.value)
    assert Universe.parse({"symbols": {}, part: {near: entry}}, "mine.yaml").names == (near,)
