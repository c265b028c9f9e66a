"""Commands that choose among bundles and experiments: compare, champions, promote."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from quant_pipeline.cli.options import (
    AsOfOption,
    BarsOption,
    CsvOption,
    ExperimentOption,
    JsonOption,
    ProfileOption,
    SymbolArgument,
)
from quant_pipeline.cli.output import show
from quant_pipeline.cli.place import choose, meant_from_here, open_house, open_works
from quant_pipeline.cli.shell import app, console, examples, guarded
from quant_pipeline.orchestration.tables import say


@app.command(epilog=examples("quant compare default mine.yaml", "quant compare calm.yaml bold.yaml --symbol BTC-USD"))
@guarded
def compare(
    first: Annotated[str, typer.Argument(help="Name or path of an experiment that has been trained.")],
    second: Annotated[str, typer.Argument(help="Name or path of another one.")],
    symbol: Annotated[str, typer.Option("--symbol", help="A symbol of the universe; `quant symbols` lists them.")] = "GC=F",
    profile: ProfileOption = None,
    bars: BarsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show the out-of-sample skill of two experiments on the decisions that they share, and whether it differs."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.orchestration.comparing import compare as side_by_side

    one, other = meant_from_here(first), meant_from_here(second)
    choose(profile, None, bars)
    title, rows, notes = side_by_side(open_house(), load_experiment(one), load_experiment(other), symbol)
    if show(rows, title, as_json=as_json, as_csv=as_csv):
        say(console, Text("\n".join(notes)))


@app.command(epilog=examples("quant champions GC=F", "quant champions GC=F --experiment mine.yaml"))
@guarded
def champions(
    symbol: SymbolArgument = "GC=F",
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show which bundle is live for a symbol, and every decision that made it so, with its reason."""
    from quant_pipeline.orchestration.champions import champion_rows

    choose(profile, experiment, bars)
    title, rows = champion_rows(open_house(), symbol)
    show(rows, title, as_json=as_json, as_csv=as_csv)


@app.command(
    epilog=examples(
        'quant promote GC=F 1f2e3d4c5b6a --reason "calmer in October"',
        'quant promote GC=F mine.yaml --reason "better on every fold"',
    )
)
@guarded
def promote(
    symbol: SymbolArgument,
    bundle: Annotated[
        str, typer.Argument(help="A bundle's id, as `quant champions` lists them, or an experiment whose newest one is meant.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")],
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Choose by hand which bundle is live for a symbol from now on: a rollback, or what another experiment has trained."""
    from quant_pipeline.orchestration.champions import promote as promote_by_hand

    chosen = meant_from_here(bundle)
    choose(profile, experiment, bars, as_of)
    house, _, instance = open_works()
    event = promote_by_hand(house, instance, symbol, chosen, reason)
    told = f"live for {symbol} since {event.since:%Y-%m-%d %H:%M} UTC: {event.challenger} ({event.reason})"
    say(console, Text(told))
