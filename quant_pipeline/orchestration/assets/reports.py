"""Group `reports`: skill with intervals, the equity of following the signals, and drift."""

import dagster as dg
import polars as pl

from quant_pipeline.config.timeframes import minutes
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.features.groups import PATTERNS
from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.deploy import test_log
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.jobs import live_inputs
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, markdown_table, png_picture, table_result
from quant_pipeline.orchestration.web import page_url


def report_assets(house: House) -> list[dg.AssetsDefinition]:
    """`skill_report`, `backtest`, `drift_report`, `feature_dictionary` and, where patterns are enabled, `pattern_gallery`."""
    patterns = set(house.experiment.features.families) & set(PATTERNS)
    return [_skill(house), _backtest(house), _drift(house), _dictionary(house), *([_gallery(house)] if patterns else [])]


def _bars(house: House) -> dict[str, dg.AssetIn]:
    """The primary bars, and the finest rungs up to them: a symbol whose bars are longer has no minutes."""
    primary = minutes(house.experiment.primary)
    rungs = [rung for rung in house.experiment.ladder if minutes(rung) < primary]
    return {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in (*rungs, house.experiment.primary)}


def _finest(rungs: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The shortest bars that there are, along which fills are looked up."""
    ordered = sorted(rungs, key=lambda name: minutes(name.removeprefix("bars_")))
    return next((rungs[name] for name in ordered if rungs[name].height), rungs[ordered[0]])


def _skill(house: House) -> dg.AssetsDefinition:
    tables = ("meta_learner", "oof_predictions", "bundle", "labels", "splits", "barriers")

    @described(
        "reports",
        house,
        reads=("signal", "splits", "primary", "features", "seed", "symbol.costs", "symbol.risk"),
        kinds={"html", "matplotlib"},
        stored="table",
        ins={**{name: dg.AssetIn() for name in tables}, **_bars(house)},
        partitions_def=symbols(house),
        description="Every model and the ensemble: metrics with intervals beside chance and naive baselines. Opens as a page.",
    )
    def skill_report(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        meta_learner: MetaFit,
        oof_predictions: dict[str, pl.DataFrame],
        bundle: pl.DataFrame,
        labels: pl.DataFrame,
        splits: pl.DataFrame,
        barriers: pl.DataFrame,
        **rungs: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.backtest.skill_report import render
        from quant_pipeline.inference.evidence import ENSEMBLE, Market, Tested, skill_inputs
        from quant_pipeline.orchestration.figures import counts
        from quant_pipeline.orchestration.measures import of_skill
        from quant_pipeline.validation.holdout_log import read_test_uses

        symbol, instrument = context.partition_key, house.symbol(context.partition_key)
        tested = Tested(oof_predictions.values(), meta_learner, bundle, house.experiment.splits)
        bars = rungs[f"bars_{house.experiment.primary}"]
        market = Market(symbol, instrument, house.source, bars, _finest(rungs), labels, splits)
        uses, longest = read_test_uses(test_log(house, symbol)), int(barriers["max_bars"][0])
        inputs = skill_inputs(tested, market, house.experiment, longest, house.provenance(symbol), uses)
        report = render(inputs)
        page = house.publish(symbol, "skill_report", report.html, report.png)
        return table_result(
            report.table,
            figure=counts(_out_of_fold(report.table), "rank IC on all folds together"),
            extra={
                "page": dg.MetadataValue.url(page_url(page, house.workplace.pages)),
                "summary": png_picture(report.png),
                **of_skill(report.table, ENSEMBLE),
            },
        )

    return skill_report


def _out_of_fold(skill: pl.DataFrame) -> dict[str, float]:
    """The rank correlation of each model of a skill table, on all folds together."""
    from quant_pipeline.validation.skill_table import POOLED

    rows = skill.filter(pl.col("kind") == "model", pl.col("fold") == POOLED, pl.col("metric") == "ic")
    return dict(rows.select("model", "value").drop_nulls().sort("value", descending=True).iter_rows())


def _backtest(house: House) -> dg.AssetsDefinition:
    @described(
        "reports",
        house,
        reads=("signal", "splits", "primary", "symbol.costs", "symbol.risk"),
        kinds={"numba"},
        stored="table",
        ins={"meta_learner": dg.AssetIn(), "bundle": dg.AssetIn(), **_bars(house)},
        partitions_def=symbols(house),
        description="Equity of the signals' own rule, net of costs, beside buy-and-hold, where models saw only the past.",
    )
    def backtest(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        meta_learner: MetaFit,
        bundle: pl.DataFrame,
        **rungs: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.backtest.engine import buy_and_hold, run_backtest
        from quant_pipeline.backtest.statistics import statistics
        from quant_pipeline.inference.decision import decide_all
        from quant_pipeline.inference.evidence import Tested
        from quant_pipeline.orchestration.figures import lines
        from quant_pipeline.orchestration.measures import of_equity

        instrument = house.symbol(context.partition_key)
        tested = Tested([], meta_learner, bundle, house.experiment.splits)
        forecasts = tested.priced()
        bars, path = rungs[f"bars_{house.experiment.primary}"], _finest(rungs)
        span = bars.filter(pl.col("timestamp") >= forecasts["decision_at"].min())
        made = run_backtest(decide_all(forecasts, house.experiment.signal, instrument.risk), span, instrument.costs, path=path)
        equity = made.equity.with_columns(buy_and_hold=buy_and_hold(span, instrument.costs, path=path).equity["net"])
        figure = lines(
            equity, "known_at", ["net", "gross", "buy_and_hold"], f"{context.partition_key}: equity of the decision rule"
        )
        return table_result(
            equity,
            time="known_at",
            figure=figure,
            extra={
                **of_equity(statistics(made), equity["buy_and_hold"][-1] - 1),
                "record": tested.record or "every out-of-sample row",
            },
        )

    return backtest


def _gallery(house: House) -> dg.AssetsDefinition:
    @described(
        "reports",
        house,
        reads=("primary", "seed"),
        kinds={"html", "matplotlib"},
        stored="table",
        ins={"bars": dg.AssetIn(key=rung_key(house.experiment.primary))},
        partitions_def=symbols(house),
        description="Every detected pattern with its pivot and its confirmation; the page draws the clearest one of each.",
    )
    def pattern_gallery(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], bars: pl.DataFrame) -> Result:
        from quant_pipeline.backtest.gallery import render_gallery
        from quant_pipeline.features.patterns.catalogue import detections, patterns
        from quant_pipeline.orchestration.figures import counts

        symbol = context.partition_key
        events = detections(bars, house.experiment.primary)
        meanings = {pattern.name: pattern.definition for pattern in patterns()}
        gallery = render_gallery(
            events, bars, meanings, symbol=symbol, simulated=house.source.simulated, facts=house.provenance(symbol)
        )
        page = house.publish(symbol, "pattern_gallery", gallery.html, gallery.png)
        seen = events["pattern"].value_counts().sort(["count", "pattern"], descending=[True, False]).head(15)
        return table_result(
            events.drop("points"),
            time="known_at",
            figure=counts(dict(seen.iter_rows()), "the most frequent patterns"),
            extra={
                "page": dg.MetadataValue.url(page_url(page, house.workplace.pages)),
                "summary": png_picture(gallery.png),
            },
        )

    return pattern_gallery


def _dictionary(house: House) -> dg.AssetsDefinition:
    @described(
        "reports",
        house,
        reads=("features", "drift", "primary", "ladder", "seed", "foundation", "symbol.correlated"),
        kinds={"html"},
        stored="table",
        ins={"features": dg.AssetIn()},
        partitions_def=symbols(house),
        description="Every feature in words, figures and pictures: formula, lookback, known-at, coverage, distribution, drift.",
    )
    def feature_dictionary(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], features: pl.DataFrame) -> Result:
        from quant_pipeline.features.glossary import entries
        from quant_pipeline.files import write_text
        from quant_pipeline.inference.dictionary import render_dictionary
        from quant_pipeline.orchestration.figures import counts

        symbol = context.partition_key
        told = entries(house.experiment, features.columns, house.symbol(symbol).correlated)
        simulated, facts = house.source.simulated, house.provenance(symbol)
        made = render_dictionary(features, told, house.experiment.drift, symbol=symbol, simulated=simulated, facts=facts)
        page = house.workplace.reports / symbol / "feature_dictionary.html"
        write_text(page, made.html)
        drifted = made.table.drop_nulls("psi").sort("psi", descending=True).head(15)
        return table_result(
            made.table,
            figure=counts(dict(drifted.select("column", "psi").iter_rows()), "PSI of the most drifted features"),
            extra={"page": dg.MetadataValue.url(page_url(page, house.workplace.pages))},
        )

    return feature_dictionary


DRIFT_OF_SYMBOL = ("symbol.calendar", "symbol.adjustments", "symbol.correlated")


def _drift(house: House) -> dg.AssetsDefinition:
    @described(
        "reports",
        house,
        reads=("drift", "features", "primary", "ladder", "news", "macro", "foundation", *DRIFT_OF_SYMBOL),
        kinds={"scipy"},
        stored="table",
        deps=[*live_inputs(house), "champion"],
        partitions_def=symbols(house),
        description="PSI and Wasserstein distance of recent features from the champion's training rows; whether to retrain.",
    )
    def drift_report(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        from quant_pipeline.inference.evidence import measure_drift
        from quant_pipeline.orchestration.figures import counts
        from quant_pipeline.orchestration.measures import of_drift

        symbol = context.partition_key
        found = measure_drift(
            house.desk(),
            symbol,
            house.live_bundle(symbol, house.horizon(symbol)),
            house.horizon(symbol),
            house.last_retrain(symbol),
        )
        worst = dict(found.table.head(15).select("feature", pl.col("psi").fill_null(0.0)).iter_rows())
        return table_result(
            found.table,
            figure=counts(worst, "PSI of the worst features"),
            extra={
                "retrain": found.decision.retrain,
                "reason": found.decision.reason,
                **of_drift(found.table, found.summary.share),
                "worst": dg.MetadataValue.md(markdown_table(found.table.head(10))),
            },
        )

    return drift_report
