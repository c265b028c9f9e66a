"""Commands that make something: run, train, predict, materialize."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from quant_pipeline.cli.options import (
    AsOfOption,
    BarsOption,
    CsvOption,
    ExperimentOption,
    ForceOption,
    JsonOption,
    ProfileOption,
    SymbolArgument,
)
from quant_pipeline.cli.output import caution, real_console, show
from quant_pipeline.cli.place import choose, open_house, open_works
from quant_pipeline.cli.shell import app, console, examples, guarded
from quant_pipeline.orchestration.tables import say

if TYPE_CHECKING:
    from quant_pipeline.orchestration.house import House
    from quant_pipeline.orchestration.runner import Runner, StageEvent


def work(name: str, symbol: str, until: str, *, force: bool) -> None:
    """Run the stages of a symbol for the command `name` with a live view, and print what was made and what was reused."""
    from quant_pipeline.orchestration.origins import command_tag
    from quant_pipeline.orchestration.progress import ProgressView
    from quant_pipeline.orchestration.row_ledger import ledger_lines
    from quant_pipeline.orchestration.runner import Runner
    from quant_pipeline.orchestration.showing import absent_rungs
    from quant_pipeline.orchestration.worker import beside

    house, defs, instance = open_works()
    house.symbol(symbol)
    experiment = escape(house.experiment.name)
    console.print(f"[bold]{symbol}[/] profile [bold]{house.workplace.profile}[/] experiment [bold]{experiment}[/]")

    def listen(event: StageEvent) -> None:
        view.listen(event)
        if event.done and event.stage.name == "ingest" and (told := absent_rungs(house, symbol)):
            say(screen, Text(told, "yellow"))
        if event.done and event.stage.name == "features":
            say(screen, Text("\n".join(ledger_lines(house, symbol))))

    with ExitStack() as open_until_done:
        enter = open_until_done.enter_context
        enter(instance)
        screen = enter(real_console(console))
        worker = enter(beside(house))
        runner = Runner(defs, instance, house, listen, worker, command_tag(f"{name} {symbol}"))
        view = enter(ProgressView(instance, screen, runner.sizes(symbol, until=until)))
        summary = runner.run(symbol, until=until, force=force)
    console.print(f"made {len(summary.made)}, reused {len(summary.reused)}")


@app.command(
    epilog=examples(
        "quant run GC=F",
        "quant run SPY --profile files --bars ~/bars",
        "quant run BTC-USD --profile yahoo --experiment mine.yaml",
    )
)
@guarded
def run(
    symbol: SymbolArgument = "GC=F",
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
    force: ForceOption = False,
) -> None:
    """The main job: raw bars to a trained, calibrated bundle and a signal. Reuses what is fresh; may be stopped at any time."""
    choose(profile, experiment, bars, as_of)
    work("run", symbol, "signals", force=force)
    _conclude(symbol, signal=True)


@app.command(epilog=examples("quant train GC=F", "quant train GC=F --experiment mine.yaml --force"))
@guarded
def train(
    symbol: SymbolArgument,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
    force: ForceOption = False,
) -> None:
    """Train, report and deploy, without emitting a signal."""
    choose(profile, experiment, bars, as_of)
    work("train", symbol, "reports", force=force)
    _conclude(symbol, signal=False)


@app.command(
    epilog=examples("quant predict GC=F", "quant predict GC=F --as-of 2026-11-16T10:00:00+00:00", "quant predict GC=F --json")
)
@guarded
def predict(
    symbol: SymbolArgument,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Fetch the newest bars, news and releases, and emit the signal of the latest closed bar, from the live bundle."""
    from quant_pipeline.orchestration.jobs import live_inputs
    from quant_pipeline.orchestration.showing import asked_signal, require_live, signal_rows

    choose(profile, experiment, bars, as_of)
    runner, house = _runner(f"predict {symbol}")
    require_live(house, symbol)
    _materialize(runner, [*live_inputs(house), "signals"], symbol, quiet=as_json or as_csv)
    signal = asked_signal(house, symbol)
    show(signal_rows(signal), "signal", as_json=as_json, as_csv=as_csv, figures=[signal.model_dump(mode="json")])


@app.command(
    epilog=examples(
        "quant materialize features/GC=F",
        "quant materialize models/lightgbm/GC=F/fold_00",
        "quant materialize 'models/lightgbm/GC=F/*'",
        "quant materialize 'raw_bars/*'",
    )
)
@guarded
def materialize(
    target: Annotated[
        str, typer.Argument(help="ASSET/SYMBOL or ASSET/SYMBOL/FOLD, as meta_learner/GC=F; * is every symbol or fold.")
    ],
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Make one asset of one partition, or of all, as the UI's Materialize does. A missing input names the command for it."""
    from quant_pipeline.orchestration.partitions import spelled
    from quant_pipeline.orchestration.targets import parse_targets

    choose(profile, experiment, bars, as_of)
    runner, house = _runner(f"materialize {target}")
    key, partitions = parse_targets(target, runner.graph, house)
    for partition in partitions:
        _materialize(runner, [key.to_user_string()], partition)
        console.print(f"[green]made[/] {key.to_user_string()} of {spelled(partition)}")


def _runner(command: str) -> tuple[Runner, House]:
    from quant_pipeline.orchestration.origins import command_tag
    from quant_pipeline.orchestration.runner import Runner

    house, defs, instance = open_works()
    return Runner(defs, instance, house, asked=command_tag(command)), house


def _materialize(runner: Runner, names: list[str], partition: str, *, quiet: bool = False) -> None:
    import dagster as dg

    with real_console(console) as screen, runner.locked(partition.rsplit("|", maxsplit=1)[-1]), ExitStack() as shown:
        if not quiet:
            shown.enter_context(screen.status(f"making {', '.join(names)} of {escape(partition)}"))
        runner.materialize([dg.AssetKey.from_user_string(name) for name in names], partition)


def _conclude(symbol: str, *, signal: bool) -> None:
    """What speaks against the figures, then three sentences: the verdict, the signal, and what to do next."""
    from quant_pipeline.orchestration.closing import closing

    house = open_house()
    caution(house, symbol)
    for sentence in closing(house, symbol, signal=signal):
        say(console, sentence)
