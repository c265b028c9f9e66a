"""`quant`: the front door from the shell. Every command works on the same assets that the Dagster UI shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from quant_pipeline.errors import ConfigError, QuantError
from quant_pipeline.files import refused_by_disk
from quant_pipeline.orchestration.tables import table

if TYPE_CHECKING:
    import dagster as dg

    from quant_pipeline.orchestration.house import House
    from quant_pipeline.orchestration.runner import Runner, StageEvent


def paragraphs(*lines: str) -> str:
    """Text of which the help page gives every line its own."""
    return "\n\n".join(lines)


def examples(*lines: str) -> str:
    """The foot of a command's help: lines that can be copied into a shell."""
    return paragraphs("[bold]Examples[/bold]", *lines)


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From price bars to trading signals.\n\nStart with [bold]quant run GC=F[/bold]: simulated gold, raw bars to a signal. "
    "Then [bold]quant ui[/bold] shows every step in the browser.",
    epilog=paragraphs(
        "[bold]Your own bars:[/bold] put SPY_1m.parquet or .csv into a folder, then",
        "quant run SPY --profile files --bars ~/bars",
        "[bold]Your own experiment:[/bold] copy quant_pipeline/config/experiments/default.yaml, change it, then",
        "quant run GC=F --experiment mine.yaml",
        "[bold]Something is wrong?[/bold] quant doctor",
    ),
)
console = Console()
P = ParamSpec("P")
PLACES = ("QUANT_UNIVERSE", "QUANT_BARS", "QUANT_NEWS", "QUANT_MACRO")
"""Variables that hold a path, which is meant from where the command was typed."""

SymbolArgument = Annotated[str, typer.Argument(help="A symbol of the universe; `quant symbols` lists them.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="simulated, files or yahoo (QUANT_PROFILE).")]
ExperimentOption = Annotated[str | None, typer.Option("--experiment", help="Name or path of an experiment (QUANT_EXPERIMENT).")]
BarsOption = Annotated[
    Path | None, typer.Option("--bars", help="Folder of your own bar files, for --profile files (QUANT_BARS).", resolve_path=True)
]
AsOfOption = Annotated[str | None, typer.Option("--as-of", help="Pin the clock, as 2026-11-16T10:00:00+00:00 (QUANT_AS_OF).")]


def guarded(function: Callable[P, None]) -> Callable[P, None]:
    """Show our own errors, and the disk's, as one red line and exit 1; Ctrl-C as a calm word and exit 130."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            console.print("[yellow]Stopped. Nothing half-written stays; the same command goes on from here.[/]")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except Exception as error:
            ours = error if isinstance(error, QuantError) else refused_by_disk(error)
            if ours is None:
                raise
            told = " ".join(str(ours).split())
            console.print(f"[bold red]{type(ours).__name__}[/]: {escape(told)}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None

    return wrapper


def choose(profile: str | None = None, experiment: str | None = None, bars: Path | None = None, as_of: str | None = None) -> None:
    """Put command-line choices into the environment, where the code location reads them, and settle DAGSTER_HOME."""
    experiment = experiment or os.environ.get("QUANT_EXPERIMENT")
    chosen = {
        "QUANT_PROFILE": profile,
        "QUANT_EXPERIMENT": experiment and meant_from_here(experiment),
        "QUANT_BARS": bars,
        "QUANT_AS_OF": as_of,
    }
    os.environ.update({name: str(value) for name, value in chosen.items() if value is not None})
    os.environ.update({name: str(Path(os.environ[name]).absolute()) for name in PLACES if os.environ.get(name)})
    home = Path(os.environ.get("DAGSTER_HOME") or _home()).absolute()
    if not home.is_dir():
        raise ConfigError(
            "DAGSTER_HOME", found=f"{home}, no such folder", wanted="the checkout", mend="create it or unset DAGSTER_HOME"
        )
    os.environ["DAGSTER_HOME"] = str(home)
    os.chdir(home)


def meant_from_here(name: str) -> str:
    """The path of an experiment made absolute, for commands go to DAGSTER_HOME; a bare name stays."""
    return str(Path(name).absolute()) if Path(name).suffix else name


def _home() -> Path:
    """The nearest folder upward that holds dagster.yaml, else the checkout this package was installed from."""
    places = [Path.cwd(), *Path.cwd().parents, Path(__file__).parents[1]]
    found = next((place for place in places if (place / "dagster.yaml").exists()), None)
    if found is None:
        raise ConfigError(
            "DAGSTER_HOME", found="no dagster.yaml here or above", wanted="the checkout", mend="cd into it or set DAGSTER_HOME"
        )
    return found


def open_house() -> House:
    """Workplace, universe and experiment: all that a command needs that only reads."""
    from quant_pipeline.orchestration.house import make_house

    return make_house()


def open_works() -> tuple[House, dg.Definitions, dg.DagsterInstance]:
    """The house, its definitions and the local instance."""
    import dagster as dg

    from quant_pipeline.definitions import build_defs

    house = open_house()
    return house, build_defs(house), dg.DagsterInstance.get()


def work(symbol: str, until: str, *, force: bool) -> None:
    """Run the stages of a symbol with a live view, and print what was made and what was reused."""
    from quant_pipeline.orchestration.progress import ProgressView
    from quant_pipeline.orchestration.row_ledger import ledger_lines
    from quant_pipeline.orchestration.runner import Runner
    from quant_pipeline.orchestration.showing import absent_rungs
    from quant_pipeline.orchestration.worker import beside

    house, defs, instance = open_works()
    house.symbol(symbol)

    def listen(event: StageEvent) -> None:
        view.listen(event)
        if event.done and event.stage.name == "ingest" and (told := absent_rungs(house, symbol)):
            console.print(f"[yellow]{escape(told)}[/]", soft_wrap=True)
        if event.done and event.stage.name == "features":
            console.print(*map(escape, ledger_lines(house, symbol)), sep="\n", highlight=False, soft_wrap=True)

    console.print(f"[bold]{symbol}[/] profile [bold]{house.workplace.profile}[/] experiment [bold]{house.experiment.name}[/]")
    with instance, ProgressView(instance, console) as view, beside(house) as worker:
        summary = Runner(defs, instance, house, listen, worker).run(symbol, until=until, force=force)
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
    force: Annotated[bool, typer.Option("--force", help="Make everything again, fresh or not.")] = False,
) -> None:
    """The main job: raw bars to a trained, calibrated bundle and a signal. Reuses what is fresh; may be stopped at any time."""
    choose(profile, experiment, bars, as_of)
    work(symbol, "signals", force=force)
    _show_skill(symbol)
    _show_signal(symbol)


@app.command(epilog=examples("quant train GC=F", "quant train GC=F --experiment mine.yaml --force"))
@guarded
def train(
    symbol: SymbolArgument,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make everything again, fresh or not.")] = False,
) -> None:
    """Train, report and deploy, without emitting a signal."""
    choose(profile, experiment, bars, as_of)
    work(symbol, "reports", force=force)
    _show_skill(symbol)


@app.command(epilog=examples("quant predict GC=F", "quant predict GC=F --as-of 2026-11-16T10:00:00+00:00"))
@guarded
def predict(
    symbol: SymbolArgument,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Fetch the newest bars, news and releases, and emit the signal of the latest closed bar, from the live bundle."""
    from quant_pipeline.orchestration.jobs import live_inputs

    choose(profile, experiment, bars, as_of)
    runner, house = _runner()
    house.symbol(symbol)
    _materialize(runner, [*live_inputs(house), "signals"], symbol)
    _show_signal(symbol)


@app.command(
    epilog=examples("quant replay GC=F", "quant replay GC=F --start 2026-11-09T00:00:00+00:00 --end 2026-11-16T00:00:00+00:00")
)
@guarded
def replay(
    symbol: SymbolArgument,
    start: Annotated[str | None, typer.Option(help="First decision time, ISO with zone; default: the first signal.")] = None,
    end: Annotated[str | None, typer.Option(help="Last decision time; default: the last signal.")] = None,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
) -> None:
    """Recompute past signals with the bundles that made them, and compare byte for byte. Exit 1 on any difference."""
    from quant_pipeline.config.workplace import parse_moment
    from quant_pipeline.orchestration.replaying import replay_symbol

    choose(profile, experiment, bars)
    house = open_house()
    house.symbol(symbol)
    compared = replay_symbol(house, symbol, parse_moment(start, "start"), parse_moment(end, "end"))
    different = compared.filter(~compared["equal"])
    console.print(
        f"{compared.height} signals replayed, {compared.height - different.height} identical, {different.height} different"
    )
    if different.height:
        console.print(table(different.head(20).to_dicts(), "differences"))
        raise typer.Exit(1)


@app.command(epilog=examples("quant report GC=F", "quant report GC=F --experiment mine.yaml"))
@guarded
def report(
    symbol: SymbolArgument = "GC=F",
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
) -> None:
    """Print the out-of-sample skill table and the place of the report page."""
    choose(profile, experiment, bars)
    _show_skill(symbol)


@app.command(epilog=examples("quant compare default mine.yaml", "quant compare calm.yaml bold.yaml --symbol BTC-USD"))
@guarded
def compare(
    first: Annotated[str, typer.Argument(help="Name or path of an experiment that has been trained.")],
    second: Annotated[str, typer.Argument(help="Name or path of another one.")],
    symbol: Annotated[str, typer.Option("--symbol", help="A symbol of the universe; `quant symbols` lists them.")] = "GC=F",
    profile: ProfileOption = None,
    bars: BarsOption = None,
) -> None:
    """Show the out-of-sample skill of two experiments on the decisions that they share, and whether it differs."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.orchestration.comparing import compare as side_by_side

    one, other = meant_from_here(first), meant_from_here(second)
    choose(profile, None, bars)
    title, rows, notes = side_by_side(open_house(), load_experiment(one), load_experiment(other), symbol)
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    console.print(table(rows, ""))
    console.print(*notes, sep="\n", highlight=False, soft_wrap=True)


@app.command(epilog=examples("quant champions GC=F", "quant champions GC=F --experiment mine.yaml"))
@guarded
def champions(
    symbol: SymbolArgument = "GC=F",
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
) -> None:
    """Show which bundle is live for a symbol, and every decision that made it so, with its reason."""
    from quant_pipeline.orchestration.champions import champion_rows

    choose(profile, experiment, bars)
    title, rows = champion_rows(open_house(), symbol)
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    console.print(table([{name: escape(str(value)) for name, value in row.items()} for row in rows], ""))


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
    console.print(
        f"live for {symbol} since {event.since:%Y-%m-%d %H:%M} UTC: [bold]{event.challenger}[/] ({escape(event.reason)})"
    )


@app.command(
    epilog=examples(
        "quant materialize features/GC=F", "quant materialize models/lightgbm/GC=F/fold_00", "quant materialize meta_learner/GC=F"
    )
)
@guarded
def materialize(
    target: Annotated[
        str, typer.Argument(help="ASSET/SYMBOL or ASSET/SYMBOL/FOLD, as meta_learner/GC=F or models/lightgbm/GC=F/fold_00.")
    ],
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Make one asset of one partition, as the UI's Materialize button does. A missing input names the command that makes it."""
    from quant_pipeline.orchestration.partitions import spelled
    from quant_pipeline.orchestration.targets import parse_target

    choose(profile, experiment, bars, as_of)
    runner, house = _runner()
    key, partition = parse_target(target, runner.graph, house)
    _materialize(runner, [key.to_user_string()], partition)
    console.print(f"[green]made[/] {key.to_user_string()} of {spelled(partition)}")


@app.command(
    epilog=examples(
        'quant sql "show tables"',
        'quant sql "from signals select as_of, action, reason order by as_of desc limit 5"',
        'quant sql "select symbol, count(*) from labels group by all"',
    )
)
@guarded
def sql(
    query: Annotated[str, typer.Argument(help="DuckDB SQL over the lake; `show tables` lists what is there.")],
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
) -> None:
    """Query the lake of an experiment: every table is a view with a `symbol` (and `fold`) column."""
    from quant_pipeline.orchestration.query import ask

    choose(profile, experiment, bars)
    columns, rows = ask(open_house(), query)
    console.print(table([{name: escape(str(value)) for name, value in zip(columns, row, strict=True)} for row in rows], ""))


@app.command(epilog=examples("quant doctor", "quant doctor --profile files --bars ~/bars"))
@guarded
def doctor(profile: ProfileOption = None, experiment: ExperimentOption = None, bars: BarsOption = None) -> None:
    """Check configuration, libraries, folders, source, alerts and the planted leaks; exit 1 if anything is wrong."""
    from quant_pipeline.orchestration.doctor import examine

    choose(profile, experiment, bars)
    findings = examine()
    console.print(
        table(
            [
                {"check": name, "state": "[green]ok[/]" if good else "[red]wrong[/]", "finding": escape(text)}
                for name, good, text in findings
            ],
            "doctor",
        )
    )
    if not all(good for _, good, _ in findings):
        raise typer.Exit(1)


@app.command(epilog=examples("quant ui", "quant ui --port 3100 --profile yahoo"))
@guarded
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
) -> None:
    """Open the Dagster web UI and daemon (schedule, sensors) on 127.0.0.1, and serve the report pages beside it."""
    from quant_pipeline.config.workplace import workplace
    from quant_pipeline.orchestration.web import serving, supervise

    choose(profile, experiment, bars)
    console.print(f"Dagster UI on http://127.0.0.1:{port} (Ctrl-C stops it)")
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with serving(workplace().pages):
        raise typer.Exit(supervise(command))


@app.command(epilog=examples("quant symbols", "QUANT_UNIVERSE=mine.yaml quant symbols"))
@guarded
def symbols() -> None:
    """List the universe: calendars, costs, correlated symbols and risk profiles."""
    from quant_pipeline.config.universe import load_universe
    from quant_pipeline.orchestration.lists import symbol_rows

    console.print(table(symbol_rows(load_universe()), "traded symbols"))


@app.command(epilog=examples("quant models", "quant models --experiment mine.yaml"))
@guarded
def models(experiment: ExperimentOption = None) -> None:
    """List the model registry and which models the experiment trains."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.orchestration.lists import model_rows

    console.print(table(model_rows(load_experiment(experiment)), "models"))


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
) -> None:
    """List the feature registry: family, rungs, lookback in bars and formula; its named sets; the documents' inputs."""
    from quant_pipeline.config.experiment import load_experiment
    from quant_pipeline.config.universe import load_universe
    from quant_pipeline.orchestration.lists import features_asked

    known = load_experiment(experiment), load_universe()
    title, rows = features_asked(*known, symbol=symbol, family=family, chosen_set=set_, sets=sets, documents=documents)
    console.print(table(rows, title))


def _runner() -> tuple[Runner, House]:
    from quant_pipeline.orchestration.runner import Runner

    house, defs, instance = open_works()
    return Runner(defs, instance, house), house


def _materialize(runner: Runner, names: list[str], partition: str) -> None:
    import dagster as dg

    with runner.locked(partition.rsplit("|", maxsplit=1)[-1]), console.status(f"making {', '.join(names)} of {partition}"):
        runner.materialize([dg.AssetKey.from_user_string(name) for name in names], partition)


def _show_skill(symbol: str) -> None:
    from quant_pipeline.orchestration.champions import nothing_live
    from quant_pipeline.orchestration.showing import skill_rows, warnings

    house = open_house()
    house.symbol(symbol)
    for line in warnings(house, symbol):
        console.print(f"[bold red]{escape(line)}[/]", highlight=False, soft_wrap=True)
    if told := nothing_live(house, symbol):
        console.print(f"[yellow]{escape(told)}[/]", highlight=False, soft_wrap=True)
    title, rows, page = skill_rows(house, symbol)
    console.print(table(rows, title))
    console.print(f"report: [bold]{page}[/]", soft_wrap=True)


def _show_signal(symbol: str) -> None:
    from quant_pipeline.orchestration.showing import signal_rows

    rows = [{name: escape(str(value)) for name, value in row.items()} for row in signal_rows(open_house(), symbol)]
    console.print(table(rows, "signal"))
