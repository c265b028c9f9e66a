"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SymbolArgument = Annotated[str, typer.Argument(help="A symbol of the universe; `quant symbols` lists them.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="simulated, files or yahoo (QUANT_PROFILE).")]
ExperimentOption = Annotated[str | None, typer.Option("--experiment", help="Name or path of an experiment (QUANT_EXPERIMENT).")]
BarsOption = Annotated[
    Path | None, typer.Option("--bars", help="Folder of your own bar files, for --profile files (QUANT_BARS).", resolve_path=True)
]
AsOfOption = Annotated[str | None, typer.Option("--as-of", help="Pin the clock, as 2026-11-16T10:00:00+00:00 (QUANT_AS_OF).")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make everything again, fresh or not.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the rows as JSON, for other programs.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV, for a spreadsheet.")]
