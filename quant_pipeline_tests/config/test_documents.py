"""The documents' inputs against the registry: nothing missing without a reason, no count different without one."""

from __future__ import annotations

import pytest

from quant_pipeline.config.documents import DOCUMENTS, DocumentInput, alternatives, documents
from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import ConfigError
from quant_pipeline.features.listing import every_column

OTHERS = load_universe().symbol("GC=F").correlated
COLUMNS = {column.name: column.spec.name for column in every_column(load_experiment("default"), OTHERS)}
PARTS = {f"{part.document} {part.section} {part.title}": part for part in documents()}
INPUTS = [(name, part, each) for name, part in PARTS.items() for each in part.inputs]


def _part(title: str):
    return next(part for part in documents() if part.title == title)


def _ours(title: str) -> set[str]:
    return {column for each in _part(title).inputs for column in each.members(COLUMNS)}


@pytest.mark.parametrize(("name", "part", "each"), INPUTS, ids=[f"{name}: {each.name}" for name, _, each in INPUTS])
def test_every_pattern_finds_columns_and_every_difference_has_a_reason(name, part, each):
    for pattern in each.ours:
        for choice in alternatives(pattern):
            assert DocumentInput(name=each.name, ours=(choice,)).members(COLUMNS), f"{name}: {choice} is no column"
    if each.count and len(each.members(COLUMNS)) != each.count * part.times:
        assert len(each.note) > 20, f"{name}: {each.name} has {len(each.members(COLUMNS))}, not {each.count * part.times}"


@pytest.mark.parametrize(
    ("title", "count"),
    [
        ("price and indicator channels of each bar", 2 * 47),
        ("volume channels of each bar", 2 * 3),
        ("chart patterns", 2 * 19),
        ("candlestick patterns", 2 * 22),
        ("harmonic patterns", 2 * 9),
        ("advanced patterns", 2 * 5),
        ("Elliott waves", 2 * 2),
        ("macro series", 6),
        ("session", 7),
        ("timeframe alignment", 5),
        ("smart money", 12),
        ("technical indicators", 12),
        ("momentum on nine rungs", 36),
        ("volatility on nine rungs", 36),
        ("volume on nine rungs", 36),
        ("microstructure on 1m", 12),
        ("regimes on 1m, 15m, 1h", 15),
        ("interactions", 30),
        ("wavelets of the close", 20),
        ("statistics on 1m, 5m, 15m, 30m, 1h", 20),
    ],
)
def test_the_lists_count_what_the_documents_count_and_ours_are_all_there(title, count):
    part = _part(title)
    assert part.count * part.times == count
    missing = sum(each.count for each in part.inputs if each.count and not each.ours)
    assert len(_ours(title)) >= count - missing


def test_the_only_counted_inputs_without_columns_are_these():
    absent = {each.name for _, _, each in INPUTS if each.count and not each.members(COLUMNS)}
    assert absent == {"1M", "OHLCV of each correlated symbol", "predictions and uncertainty of the other models"}


def test_columns_that_no_document_names_are_few_and_known():
    named = {column for _, _, each in INPUTS for column in each.members(COLUMNS)}
    beyond = {name for name in set(COLUMNS) - named if not name.endswith("_direction_1h")}
    assert all(name.startswith(("macro_", "news_")) for name in beyond)


def test_with_the_monthly_rung_its_bias_is_made():
    experiment = load_experiment("default")
    coarse = experiment.features.model_copy(update={"coarse": ("1d", "1M")})
    names = {column.name for column in every_column(experiment.model_copy(update={"features": coarse}), ())}
    assert {"mtf_bias_1M", "mtf_bias_1d", "mtf_bias_1h"} <= names


def test_braces_stand_for_each_of_their_words():
    assert alternatives("a_{b,c}_{d,}") == ("a_b_d", "a_b_", "a_c_d", "a_c_")
    assert alternatives("plain*") == ("plain*",)


def test_patterns_name_features_or_single_columns():
    columns = {"rsi_1m": "rsi", "rsi_1h": "rsi", "rsi_1m_x_rsi_1h": "rsi_1m_x_rsi_1h"}
    assert DocumentInput(name="a", ours=("rsi",)).members(columns) == ("rsi_1m", "rsi_1h")
    assert DocumentInput(name="a", ours=("rsi_1h", "*_x_*")).members(columns) == ("rsi_1h", "rsi_1m_x_rsi_1h")


def test_an_input_without_columns_and_without_a_reason_is_refused():
    with pytest.raises(ConfigError, match="reason why there are none"):
        DocumentInput.parse({"name": "order book depth"}, DOCUMENTS.name)
