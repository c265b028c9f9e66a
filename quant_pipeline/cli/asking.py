"""Commands that look at what was made: report, sql, replay."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from quant_pipeline.cli.options import BarsOption, CsvOption, ExperimentOption, JsonOption, ProfileOption, SymbolArgument
from quant_pipeline.cli.output import caution, show
from quant_pipeline.cli.place import choose, open_house
from quant_pipeline.cli.shell import app, console, examples, guarded
from quant_pipeline.orchestration.tables import say


@app.command(epilog=examples("quant report GC=F", "quant report GC=F --experiment mine.yaml", "quant report GC=F --csv"))
@guarded
def report(
    symbol: SymbolArgument = "GC=F",
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Print the out-of-sample skill table and the place of the report page."""
    from quant_pipeline.orchestration.closing import place_of
    from quant_pipeline.orchestration.showing import skill_figures, skill_rows

    choose(profile, experiment, bars)
    house = open_house()
    house.symbol(symbol)
    if not (as_json or as_csv):  # also of a symbol whose training was stopped by what they tell
        caution(house, symbol)
    title, rows, page = skill_rows(house, symbol)
    if show(rows, title, as_json=as_json, as_csv=as_csv, figures=skill_figures(house, symbol)):
        say(console, Text(f"report page:\n{place_of(house, page)}"))


@app.command(
    epilog=examples(
        'quant sql "show tables"',
        'quant sql "from signals select as_of, action, reason order by as_of desc limit 5"',
        'quant sql "select symbol, count(*) from labels group by all" --csv',
        'quant sql "select as_of, action, close from signals s asof join raw_1m r '
        'on s.symbol = r.symbol and s.as_of >= r.known_at"',
    )
)
@guarded
def sql(
    query: Annotated[str, typer.Argument(help="DuckDB SQL over the lake; `show tables` lists what is there.")],
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Query the lake of an experiment: every table is a view with a `symbol` (and `fold`) column.

    `raw_1m` (or another native interval) holds all bars up to now, as last told; `bars_*` end with the training cutoff.
    """
    from quant_pipeline.orchestration.query import ask

    choose(profile, experiment, bars)
    columns, rows = ask(open_house(), query)
    show([dict(zip(columns, row, strict=True)) for row in rows], "", as_json=as_json, as_csv=as_csv)


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
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Recompute past signals with the bundles that made them, and compare byte for byte. Exit 1 on any difference.

    As JSON or CSV every signal is a row; else those that differ are shown, the first 20.
    """
    from quant_pipeline.config.workplace import parse_moment
    from quant_pipeline.orchestration.replaying import replay_symbol

    choose(profile, experiment, bars)
    house = open_house()
    house.symbol(symbol)
    compared = replay_symbol(house, symbol, parse_moment(start, "start"), parse_moment(end, "end"))
    different = compared.filter(~compared["equal"])
    counted = f"{compared.height} signals replayed, {compared.height - different.height} identical, {different.height} different"
    if as_json or as_csv:
        show(compared.to_dicts(), counted, as_json=as_json, as_csv=as_csv)
    else:
        console.print(counted)
    if different.height:
        if not (as_json or as_csv):
            show(different.head(20).to_dicts(), "differences", as_json=False, as_csv=False)
        raise typer.Exit(1)
