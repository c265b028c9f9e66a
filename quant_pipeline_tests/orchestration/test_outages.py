"""A side source that is down: a note where a decision is due, an error where training is."""

from __future__ import annotations

import dagster as dg
import pytest

from quant_pipeline.errors import SourceError
from quant_pipeline.ledger import DOWN
from quant_pipeline.orchestration.moments import DECISION

SYMBOL, MOMENT = "BTC-USD", {DECISION: "2026-11-18T10:00:00+00:00"}
FAMILIES = {"features": {"families": ["returns", "macro", "news"]}}


@pytest.fixture
def down(monkeypatch):
    def fails(*_: object, **__: object):
        raise SourceError("FRED", found="no answer", wanted="releases", mend="wait")

    monkeypatch.setattr("quant_pipeline.orchestration.library.collect_macro", fails)
    monkeypatch.setattr("quant_pipeline.orchestration.library.collect_news", fails)
    monkeypatch.setattr("quant_pipeline.sources.ingest.ingest", fails)


def materialized(instance: dg.DagsterInstance, name: str) -> dg.AssetMaterialization:
    return instance.fetch_materializations(dg.AssetKey(name), limit=1).records[0].asset_materialization


@pytest.mark.parametrize("name", ["macro_series", "raw_news", "raw_bars"])
@pytest.mark.usefixtures("down")
def test_a_source_that_is_down_is_a_note_where_a_decision_is_due(bare_home, name):
    with bare_home.runner(bare_home.house(**FAMILIES)) as runner:
        runner.materialize([dg.AssetKey(name)], SYMBOL, moment=MOMENT)
        made = materialized(runner.instance, name)
        with pytest.raises(SourceError, match="no answer"):
            runner.materialize([dg.AssetKey(name)], SYMBOL)
    assert "SourceError: FRED: found no answer" in made.metadata["ledger"].value["notes"][DOWN]


@pytest.mark.usefixtures("down")
def test_the_decision_is_answered_all_the_same_and_says_who_did_not(bare_home):
    house = bare_home.house(**FAMILIES)
    with bare_home.runner(house) as runner:
        names = [dg.AssetKey(name) for name in ("raw_bars", "macro_series", "raw_news", "signals")]
        runner.materialize(names, SYMBOL, moment=MOMENT)
        made = materialized(runner.instance, "signals")
    signal = house.signals.latest(SYMBOL)
    assert (f"{signal.as_of:%H:%M}", signal.status) == ("10:00", "no_model")
    assert signal.reason.endswith("(did not answer: raw_bars, raw_news, macro_series)")
    assert set(made.metadata["down"].value) == {"raw_bars", "raw_news", "macro_series"}
