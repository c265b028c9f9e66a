"""Commands that list what there is: symbols, models, features."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_pipeline.cli.options import CsvOption, ExperimentOption, JsonOption
from quant_pipeline.cli.output import show
from quant_pipeline.cli.shell import app, examples, guarded


@app.command(epilog=examples("quant symbols", "quant symbols --csv", "QUANT_UNIVERSE=mine.yaml quant symbols"))
@guarded
def symbols(as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the universe: calendars, costs, correlated symbols and risk profiles."""
    from quant_pipeline.config.universe import load_universe
    from quant_pipeline.orchestration.lists import symbol_rows

    show(symbol_rows(load_universe()), "traded symbols", as_json=as_json, as_csv=as_csv)


@app.command(epilog=examples("quant models", "quant models --experiment mine.yaml"))
@guarded
def models(experiment: ExperimentOption = None, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the model registry and which models the experiment trains."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.orchestration.lists import model_rows

    show(model_rows(load_experiment(experiment)), "models", as_json=as_json, as_csv=as_csv)


@app.command(
    epilog=examples(
        "quant features --family momentum",
        "quant features --set boosting_optimal",
        "quant features --sets --symbol BTC-USD",
        "quant features --documents --family macro",
    )
)
@guarded
def features(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    set_: Annotated[str | None, typer.Option("--set", help="The features of this named set.")] = None,
    sets: Annotated[bool, typer.Option("--sets", help="One row for each named set.")] = False,
    documents: Annotated[bool, typer.Option("--documents", help="What the source documents name, against our columns.")] = False,
    symbol: Annotated[str | None, typer.Option(help="Whose columns; it decides the correlated symbols.")] = None,
    experiment: ExperimentOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the feature registry: family, rungs, lookback in bars and formula; its named sets; the documents' inputs."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.config.universe import load_universe
    from quant_pipeline.orchestration.lists import features_asked

    known = load_experiment(experiment), load_universe()
    title, rows = features_asked(*known, symbol=symbol, family=family, chosen_set=set_, sets=sets, documents=documents)
    show(rows, title, as_json=as_json, as_csv=as_csv)
