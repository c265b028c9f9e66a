from __future__ import annotations

import threading

import pytest

from quant_pipeline.errors import SourceError
from quant_pipeline.orchestration import reach as module
from quant_pipeline.orchestration.reach import reach


def test_any_answer_counts():
    assert reach("yahoo", lambda _: 404).endswith("answers")


def test_a_network_that_is_away_is_told_with_its_reason():
    def fail(address: str) -> None:
        raise OSError(f"no route to {address}")

    with pytest.raises(SourceError, match="OSError: no route to https://query1"):
        reach("yahoo", fail)


def test_silence_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.05)
    with pytest.raises(SourceError, match=r"found silence, wanted an answer within 0\.05 seconds"):
        reach("yahoo", lambda _: threading.Event().wait(5))


def test_the_doctor_asks_the_provider_of_a_profile_that_has_one(home_of_nothing, monkeypatch):
    from quant_pipeline.orchestration import doctor

    def fail(profile: str) -> str:
        raise SourceError(profile, found="silence", wanted="an answer", mend="look at the network")

    monkeypatch.setattr(doctor, "_leaks", lambda: "")
    monkeypatch.setattr(doctor, "reach", fail)
    for name, value in home_of_nothing.environment().items():
        monkeypatch.setenv(name, value)
    assert "provider" not in {name for name, _, _ in doctor.examine()}
    monkeypatch.setenv("QUANT_PROFILE", "yahoo")
    assert [(good, "silence" in text) for name, good, text in doctor.examine() if name == "provider"] == [(False, True)]
