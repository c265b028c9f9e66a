from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration import versions
from quant_pipeline.orchestration.versions import code_version


def body_with(value: object):
    def body() -> object:
        return value

    return body


def version(house, *reads: str, value: object = 1) -> str:
    return code_version(body_with(value), house, reads)


@pytest.fixture(autouse=True)
def code(monkeypatch) -> dict[str, bytes]:
    """What is behind every body; `test_closure.py` looks at how it is found."""
    behind = {"body": b"return value"}
    monkeypatch.setattr(versions, "code_digest", lambda *_: str(behind))
    return behind


def test_equal_code_and_settings_give_one_version(default_house):
    assert version(default_house, "labels") == version(default_house, "labels")
    assert len(version(default_house)) == 12


def test_code_counts(default_house, code):
    before = version(default_house)
    code["body"] = b"return -value"
    assert version(default_house) != before


def test_declared_settings_count(default_house):
    other = default_house.like(experiment=default_house.experiment.model_copy(update={"labels": LabelSettings(max_bars=6)}))
    assert version(default_house, "labels") != version(other, "labels")
    assert version(default_house, "splits") == version(other, "splits")


def test_what_a_body_closes_over_counts(default_house):
    values = (1, "1", 1.5, None, True, ("1h",), ["1h", "5m"], {"a": 1}, LabelSettings(), LabelSettings(max_bars=6))
    found = [version(default_house, value=value) for value in values]
    assert len(set(found)) == len(values)


def test_a_variable_without_a_text_of_its_own_is_refused(default_house):
    with pytest.raises(ConfigError, match="asset variable 'value': found a ndarray"):
        version(default_house, value=np.ones(3))
