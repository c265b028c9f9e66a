from __future__ import annotations

import pytest

from quant_pipeline.validation import leaks
from quant_pipeline.validation.leaks import LEAKS, Leak

NAMED_BY_THE_ISSUE = {
    "future shift",
    "centred window",
    "scaler on all rows",
    "forming bar",
    "unpurged label",
    "revised macro value",
    "row from its own fold",
}


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_the_leak_is_caught_by_its_audit(leak):
    faults = leak.find(leak=True)
    assert faults["audit"].unique().to_list() == [leak.audit]
    assert faults["rows"].min() > 0


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_the_honest_twin_passes(leak):
    assert leak.find(leak=False).to_dicts() == []


def test_the_table_has_every_leak_that_the_issue_names():
    names = {leak.name for leak in LEAKS}
    assert len(names) == len(LEAKS) >= 12
    assert names >= NAMED_BY_THE_ISSUE
    assert {leak.audit for leak in LEAKS} == {"prefix", "as-of", "scaler", "split", "oof"}


def test_missed_leaks_and_false_alarms_are_told(monkeypatch):
    good = LEAKS[0]
    blind = Leak("blind audit", "prefix", "", lambda *, leak: good.find(leak=leak and False))
    paranoid = Leak("false alarm", "prefix", "", lambda *, leak: good.find(leak=leak or True))
    wrong = Leak("wrong audit", "split", "", good.find)
    monkeypatch.setattr(leaks, "LEAKS", (good, blind, paranoid, wrong))
    assert leaks.uncaught() == ["blind audit", "false alarm", "wrong audit"]


def test_all_are_caught_on_this_machine():
    assert leaks.uncaught() == []
