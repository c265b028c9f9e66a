from __future__ import annotations

import polars as pl
import pytest

from quant_pipeline.files import write_parquet
from quant_pipeline.orchestration import doctor, row_ledger
from quant_pipeline.orchestration.stored import damaged_stores


@pytest.fixture
def findings(trained_home, monkeypatch):
    """What the doctor finds in the trained home, after changes to the environment."""

    def look(**environment: str) -> dict[str, tuple[bool, str]]:
        for name in ("QUANT_TELEGRAM_TOKEN", "QUANT_TELEGRAM_CHAT", "QUANT_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**trained_home.environment(), **environment}.items():
            monkeypatch.setenv(name, value)
        return {name: (good, text) for name, good, text in doctor.examine()}

    monkeypatch.setattr(doctor, "_leaks", lambda: "12 of 12 caught")
    return look


def test_a_sound_installation_is_told_so(findings, monkeypatch):
    monkeypatch.setattr(doctor, "ROOM_NEEDED", 1)
    found = findings()
    assert {name for name, (good, _) in found.items() if not good} == set()
    assert {
        "python",
        "configuration",
        "disk",
        "source",
        "telegram",
        "planted leaks",
        "champions",
        "bars of BTC-USD",
        *doctor.LIBRARIES,
    } == set(found)
    assert "experiment tiny, profile simulated" in found["configuration"][1]
    assert found["champions"][1] == "BTC-USD"
    assert "alerts go to the log" in found["telegram"][1]


def test_plugins_are_told_and_a_broken_one_is_named(bare_home, plug, a_feature):
    def told() -> tuple[bool, str]:
        return next((good, text) for name, good, text in doctor._place(bare_home.house()) if name == "plugins")

    folder = plug(mine=a_feature("doubled", "returns"))
    assert told() == (True, f"{folder}/mine.py: feature doubled")
    plug(broken="1 / 0")
    good, text = told()
    assert not good
    assert "broken.py, line 1: found ZeroDivisionError" in text


def test_a_broken_configuration_is_named_and_ends_the_visit_early(findings):
    found = findings(QUANT_EXPERIMENT="defalt")
    assert found["configuration"] == (False, found["configuration"][1])
    assert "did you mean 'default'" in found["configuration"][1]
    assert "disk" not in found


def test_a_library_that_is_absent_comes_with_its_command(findings, monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", ("dagster", "no-such-library"))
    found = findings()
    assert found["dagster"][0]
    assert found["no-such-library"] == (False, "not installed; run: pip install -c constraints.txt no-such-library")


def test_too_little_room_is_wrong(findings, monkeypatch):
    monkeypatch.setattr(doctor, "ROOM_NEEDED", 2**60)
    assert not findings()["disk"][0]


def test_a_folder_that_is_absent_is_wrong(findings, tmp_path):
    good, text = findings(QUANT_PROFILE="files", QUANT_BARS=str(tmp_path / "nowhere"))["source"]
    assert not good
    assert "nowhere" in text


def test_where_news_and_releases_come_from_is_looked_at_only_where_they_are_read(findings, home, tmp_path):
    assert {"news", "macro"}.isdisjoint(findings())
    families = {"families": ["returns", "news", "macro"]}
    reading = home.experiment(tmp_path / "reading.yaml", features=families)
    found = findings(QUANT_EXPERIMENT=reading)
    assert found["news"][0]
    assert "encoder minilm in " in found["news"][1]
    assert found["macro"] == (True, "releases from SimulatedSource")
    (tmp_path / "bars").mkdir()
    found = findings(QUANT_EXPERIMENT=reading, QUANT_PROFILE="files", QUANT_BARS=str(tmp_path / "bars"))
    assert found["news"] == found["macro"] == (True, "no source of it in this profile: its features are left out")
    nowhere = home.experiment(tmp_path / "nowhere.yaml", features=families, news={"encoder": str(tmp_path / "no-encoder")})
    good, text = findings(QUANT_EXPERIMENT=nowhere)["news"]
    assert not good
    assert "no-encoder" in text


def test_a_token_without_a_chat_is_wrong_and_stays_secret(findings):
    good, text = findings(QUANT_TELEGRAM_TOKEN="1:secret")["telegram"]  # noqa: S106 - not a real one
    assert (good, "QUANT_TELEGRAM_CHAT" in text, "secret" in text) == (False, True, False)
    good, text = findings(QUANT_TELEGRAM_TOKEN="1:secret", QUANT_TELEGRAM_CHAT="42")["telegram"]  # noqa: S106 - not a real one
    assert (good, "42" in text, "secret" in text) == (True, True, False)


def test_a_leak_that_nobody_catches_is_wrong(trained_home, monkeypatch):
    from quant_pipeline.validation import leaks

    for name, value in trained_home.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(leaks, "uncaught", lambda: ["future shift"])
    found = {name: (good, text) for name, good, text in doctor.examine()}
    assert not found["planted leaks"][0]
    assert "future shift not caught" in found["planted leaks"][1]


SYMBOL = "BTC-USD"


def test_every_damage_is_told_and_hides_no_other(home, monkeypatch):
    monkeypatch.setattr(doctor, "_leaks", lambda: "12 of 12 caught")
    house = home.house()
    ledger, champions = row_ledger.ledger_path(house, SYMBOL), house.champions.root / f"{SYMBOL}.jsonl"
    tables = [house.workplace.lake / asset / f"{SYMBOL}.parquet" for asset in ("feature_audit", "skill_alarm", "fit_audit")]
    for path in (ledger, champions, *tables):
        path.unlink()
        path.mkdir() if path.parent.name == "fit_audit" else path.symlink_to("/no/where")
    told = [(name, text) for name, good, text in doctor._place(house) if not good and name != "disk"]
    assert {name for name, _ in told} == {f"bars of {SYMBOL}", f"tables of {SYMBOL}", "champions"}
    for path in (ledger, champions, *tables):
        assert [text for _, text in told if text.startswith(f"{path}: found a damaged file")]


def test_an_implausible_skill_is_told_beside_a_damaged_audit(home, monkeypatch):
    monkeypatch.setattr(doctor, "_leaks", lambda: "12 of 12 caught")
    house = home.house()
    alarm = pl.DataFrame([{"what": "feature", "name": "x", "ic": 0.9, "ceiling": 0.2}])
    write_parquet(house.workplace.lake / "skill_alarm" / f"{SYMBOL}.parquet", alarm)
    (house.workplace.lake / "feature_audit" / f"{SYMBOL}.parquet").write_bytes(b"x")
    told = [name for name, good, _ in doctor._place(house) if not good and name != "disk"]
    assert told == [f"tables of {SYMBOL}", "implausible skill"]


def test_damage_of_what_cannot_be_made_again_is_told(home, monkeypatch):
    monkeypatch.setattr(doctor, "_leaks", lambda: "12 of 12 caught")
    house = home.house()
    raw, signal = house.store.folder(SYMBOL, "1m") / "2026-11.parquet", next(house.workplace.signals.rglob("*Z.json"))
    bundle = house.workplace.bundles / SYMBOL / str(house.champions.live_at(SYMBOL, house.workplace.now())) / "meta.json"
    (house.workplace.shared / "releases" / "series").mkdir(parents=True)
    (house.workplace.shared / "articles").mkdir()
    release, headlines = house.workplace.releases / "series" / "CPI.parquet", house.workplace.shared / "articles" / SYMBOL
    headlines.mkdir()
    for path in (raw, signal, bundle, release, headlines / "2026-11.parquet"):
        path.write_bytes(b"x")
    told = {name: text for name, good, text in doctor._place(house) if not good and name != "disk"}
    wrong = {f"raw bars of {SYMBOL}": raw, f"signals of {SYMBOL}": signal, "champions": bundle, "releases": release}
    wrong[f"headlines of {SYMBOL}"] = headlines / "2026-11.parquet"
    assert told.keys() == wrong.keys()
    assert all(told[name].startswith(f"{path}: found") for name, path in wrong.items())


def test_damaged_notes_of_an_ingest_are_told(home):
    asked = home.house().store.folder(SYMBOL) / "asked.json"
    asked.write_text("{}")
    assert [text for _, text in damaged_stores(home.house()) if text.startswith(f"{asked}: found a damaged file")]
