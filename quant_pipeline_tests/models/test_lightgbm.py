from dataclasses import replace

from quant_pipeline.models import registry


def test_parameters_reach_the_library(toy):
    model = registry.create("lightgbm", {"n_estimators": 4, "num_leaves": 5, "subsample": 0.7})
    model.fit(toy(300), toy(60, seed=1), 11)
    for line in (
        "[num_leaves: 5]",
        "[bagging_fraction: 0.7]",
        "[bagging_freq: 1]",
        "[seed: 11]",
        "[deterministic: 1]",
        "[lambda_l2: 1]",
    ):
        assert line in model._text
    assert model.metrics.iterations <= 4


def test_early_stopping_reads_valid_and_valid_only_cuts(toy):
    train, valid = toy(400, signal=1), toy(100, signal=1, seed=1)
    params = {"n_estimators": 30, "early_stopping_rounds": 30}
    long, short = registry.create("lightgbm", params), registry.create("lightgbm", params)
    kept = long.fit(train, valid, 7).iterations
    cut = short.fit(train, replace(valid, label=-valid.label), 7).iterations
    assert cut < kept <= 30

    def trees(text: str) -> list[str]:
        return text.split("Tree=")[1 : cut * 3]

    assert trees(long._text) == trees(short._text)  # the trees before the cut are the same trees
