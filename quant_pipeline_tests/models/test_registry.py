import subprocess
import sys
from dataclasses import dataclass

import pytest

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.model import Settings
from quant_pipeline.errors import ConfigError
from quant_pipeline.models import registry

HEAVY = ("lightgbm", "xgboost", "sklearn", "torch", "catboost", "transformers")


def test_the_first_three_are_found_with_their_specs():
    assert {"lightgbm", "xgboost", "logistic"} <= set(registry.names())
    spec = registry.spec("lightgbm")
    assert (spec.name, spec.family, spec.view, spec.needs_scaling) == ("lightgbm", "boosting", "feature_matrix", False)
    assert registry.get("logistic").spec.needs_scaling


def test_scanning_imports_no_library():
    found = f"[m for m in {HEAVY!r} if m in sys.modules]"
    code = f"import sys; from quant_pipeline.models import registry; registry.names(); print({found})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'xgboost'"):
        registry.get("xgbost")


def test_the_default_experiment_names_valid_models():
    for settings in load_experiment("default").models:
        registry.create(settings.name, settings.params)


def test_defaults_are_those_of_the_default_experiment():
    for settings in load_experiment("default").models:
        if settings.name != "logistic":
            assert registry.create(settings.name, settings.params).params == registry.create(settings.name).params
        else:
            assert registry.create("logistic").params.C == 1.0


def test_two_classes_of_one_name_are_refused():
    @dataclass
    class Impostor:
        pass

    with pytest.raises(ConfigError, match="two classes"):
        registry.model("lightgbm", family="boosting", view="feature_matrix", params=Settings)(Impostor)
