"""The application that all commands hang on, its console, and how a command ends: well, refused or stopped."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from quant_pipeline.cli.stopping import Stops
from quant_pipeline.errors import QuantError
from quant_pipeline.files import refused_by_disk
from quant_pipeline.orchestration.tables import say


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


def _version(asked: bool) -> None:
    if asked:
        from quant_pipeline import __version__

        console.print(f"quant {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What stands before any command."""


def guarded(function: Callable[P, None]) -> Callable[P, None]:
    """Show our own errors, and the disk's, as one red line and exit 1; Ctrl-C and SIGTERM as a calm one and 130 or 143."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        with Stops() as stops:
            try:
                function(*args, **kwargs)
            except typer.Exit:
                raise
            except BaseException as error:
                code = stops.code(error)
                if code:
                    console.print("[yellow]Stopped. Nothing half-written stays; the same command goes on from here.[/]")
                    raise typer.Exit(code) from None
                _refuse(error)
                raise

    return wrapper


def _refuse(error: BaseException) -> None:
    """End with 1 and one line where the error is one that a user can mend; return where it is another."""
    ours = error if isinstance(error, QuantError) else refused_by_disk(error)
    if ours is not None:
        told = " ".join(str(ours).split())
        say(console, Text.assemble((type(ours).__name__, "bold red"), f": {told}"))
        raise typer.Exit(1) from None
