import subprocess
import sys
from dataclasses import dataclass

import pytest

from quant_pipeline import models
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


def test_a_plugin_is_a_model_like_any_other(plug, a_model):
    plug(mine=a_model("mine"))
    assert "mine" in registry.names()
    assert registry.spec("mine").family == "mine"
    assert registry.create("mine", {"C": 2.0}).params.C == 2.0


def test_a_name_that_is_taken_is_refused_naming_both_files(plug, a_model):
    """Also where the class is called alike."""
    folder = plug(mine=a_model("logistic").replace("Logistic,", "Logistic as Base,").replace("Mine(Logistic)", "Logistic(Base)"))
    with pytest.raises(ConfigError, match=rf"Logistic in .*classical/logistic\.py and Logistic in {folder}/mine\.py"):
        registry.names()


def test_a_file_in_a_family_folder_without_init_is_found(tmp_path, monkeypatch, plug, a_model):
    plug()
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "mine.py").write_text(a_model("mine"))
    (tmp_path / "fresh" / "plain.py").write_text("x = 1")
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    registry._in_package.cache_clear()
    try:
        assert "mine" in registry.names()
        (tmp_path / "fresh" / "later.py").write_text("import nobody_has_this")
        registry._in_package.cache_clear()
        with pytest.raises(ConfigError, match=r"fresh/later\.py, line 1: found ModuleNotFoundError"):
            registry.names()
    finally:
        registry._in_package.cache_clear()


def test_two_classes_of_one_name_are_refused():
    @dataclass
    class Impostor:
        pass

    with pytest.raises(ConfigError, match="two classes"):
        registry.model("lightgbm", family="boosting", view="feature_matrix", params=Settings)(Impostor)
