"""Commands that look after an installation: doctor and ui."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from quant_pipeline.cli.options import BarsOption, CsvOption, ExperimentOption, JsonOption, ProfileOption
from quant_pipeline.cli.output import show
from quant_pipeline.cli.place import choose
from quant_pipeline.cli.shell import app, console, examples, guarded
from quant_pipeline.orchestration.tables import say

STATES = {True: Text("ok", "green"), False: Text("wrong", "red")}


@app.command(epilog=examples("quant doctor", "quant doctor --profile files --bars ~/bars"))
@guarded
def doctor(
    profile: ProfileOption = None,
    experiment: ExperimentOption = None,
    bars: BarsOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Check configuration, libraries, folders, source, alerts and the planted leaks; exit 1 if anything is wrong."""
    from quant_pipeline.orchestration.doctor import examine

    choose(profile, experiment, bars)
    findings = examine()
    rows = [{"check": name, "state": STATES[good], "finding": text} for name, good, text in findings]
    show(rows, "doctor", as_json=as_json, as_csv=as_csv)
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
    from quant_pipeline.orchestration.web import address, serving, supervise

    choose(profile, experiment, bars)
    say(console, Text(f"Dagster UI on http://127.0.0.1:{port}, report pages on {address()} (Ctrl-C stops both)"))
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with serving(workplace().pages):
        raise typer.Exit(supervise(command))
