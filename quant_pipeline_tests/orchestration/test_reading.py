from __future__ import annotations

import pytest

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.reading import EVERYTHING, limited, settings_read


def test_only_what_is_declared_can_be_read(default_house):
    house = limited(default_house, ("labels", "symbol.costs"), "labels")
    assert house.experiment.labels == default_house.experiment.labels
    assert house.symbol("GC=F").costs == default_house.symbol("GC=F").costs
    assert house.experiment.name == "default"
    with pytest.raises(ConfigError, match=r"asset labels: found a read of Experiment.splits.*'splits'"):
        _ = house.experiment.splits
    with pytest.raises(ConfigError, match=r"read of Symbol.risk.*'symbol.risk'"):
        _ = house.symbol("GC=F").risk
    with pytest.raises(ConfigError, match=r"read of Instrument.calendar"):
        _ = house.universe.instrument("^TNX").calendar
    with pytest.raises(AttributeError, match="nonsense"):
        _ = house.experiment.nonsense


def test_a_limit_holds_for_settings_that_are_derived_too(default_house):
    house = limited(default_house, ("ladder",), "x")
    with pytest.raises(ConfigError, match=r"Experiment.features"):
        _ = house.experiment.rungs


def test_a_limited_house_works_in_the_same_place_and_on_the_same_source(default_house):
    house = limited(default_house, (), "x")
    assert house.workplace == default_house.workplace
    assert house.source is default_house.source
    assert house.source.horizon("GC=F", house.workplace.now())


def test_declared_settings_count_and_others_do_not(default_house):
    def told(reads, **changed: object):
        return settings_read(default_house.like(experiment=default_house.experiment.model_copy(update=changed)), reads)

    assert told(("seed",), seed=8) != told(("seed",))
    assert told(("seed",), history_days=30) == told(("seed",))
    assert told(EVERYTHING, history_days=30) != told(EVERYTHING)


def test_the_settings_of_every_symbol_count(default_house):
    symbols = dict(default_house.universe.symbols)
    gold = symbols["GC=F"]
    symbols["GC=F"] = gold.model_copy(update={"costs": gold.costs.model_copy(update={"fee_bps": 99.0})})
    dearer = default_house.like(universe=default_house.universe.model_copy(update={"symbols": symbols}))
    assert settings_read(dearer, ("symbol.costs",)) != settings_read(default_house, ("symbol.costs",))
    assert settings_read(dearer, ("symbol.risk",)) == settings_read(default_house, ("symbol.risk",))


def test_a_declaration_of_nothing_that_exists_is_refused(default_house):
    with pytest.raises(ConfigError, match=r"found symbol.cost, wanted fields"):
        settings_read(default_house, ("symbol.cost",))
