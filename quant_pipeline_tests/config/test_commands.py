from __future__ import annotations

from quant_pipeline.config.commands import command


def test_what_is_the_default_is_not_said():
    given = {"QUANT_PROFILE": "simulated", "QUANT_EXPERIMENT": "default", "QUANT_BARS": "data/raw", "QUANT_DATA": "data"}
    assert command("quant run GC=F", {}) == command("quant run GC=F", given) == "quant run GC=F"


def test_places_are_told_so_that_they_work_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {"QUANT_EXPERIMENT": "mine.yaml", "QUANT_BARS": "my bars"}
    told = f"quant train 'SPY' --experiment {tmp_path}/mine.yaml --bars '{tmp_path}/my bars'"
    assert command("quant train 'SPY'", given) == told
    assert command("quant run", {"QUANT_EXPERIMENT": "wide"}) == "quant run --experiment wide"
