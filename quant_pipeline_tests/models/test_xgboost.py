import json
from dataclasses import replace

from quant_pipeline.models import registry


def config(model) -> dict[str, dict[str, str]]:
    return json.loads(model._booster.save_config())["learner"]


def test_keeps_the_trees_up_to_the_best_iteration(toy):
    train, valid = toy(400, signal=1), toy(100, signal=1, seed=1)
    params = {"n_estimators": 30, "early_stopping_rounds": 30}
    long, short = registry.create("xgboost", params), registry.create("xgboost", params)
    kept = long.fit(train, valid, 7).iterations
    cut = short.fit(train, replace(valid, label=-valid.label), 7).iterations
    assert cut < kept <= 30
    assert long._booster.get_dump()[: cut * 3] == short._booster.get_dump()
    assert config(long)["learner_model_param"]["num_class"] == "3"


def test_another_seed_is_another_model(toy):
    texts = []
    for seed in (1, 2):
        model = registry.create("xgboost", {"n_estimators": 5})
        model.fit(toy(300), toy(60, seed=1), seed)
        texts.append(model._raw)
    assert texts[0] != texts[1]
