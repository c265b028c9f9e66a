"""A command as an error names it: with the choices of profile, experiment and bars that this process works with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path


def command(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text`, a command of ours, so that it works where this process does; what is the default is not said.

    Example:
        >>> command("quant train SPY", {"QUANT_PROFILE": "files", "QUANT_BARS": "/my bars", "QUANT_EXPERIMENT": "default"})
        "quant train SPY --profile files --bars '/my bars'"
    """
    given = os.environ if environment is None else environment
    bars = Path(given.get("QUANT_DATA", "data"), "raw").absolute()
    chosen = {
        "--profile": (given.get("QUANT_PROFILE", ""), "simulated"),
        "--experiment": (_place(given.get("QUANT_EXPERIMENT", "")), "default"),
        "--bars": (str(Path(given.get("QUANT_BARS", bars)).absolute()), str(bars)),
    }
    told = [f"{flag} {shlex.quote(value)}" for flag, (value, default) in chosen.items() if value not in ("", default)]
    return " ".join([text, *told])


def _place(experiment: str) -> str:
    """An experiment that is a file, wherever the shell stands; one in the package by its name."""
    return str(Path(experiment).absolute()) if Path(experiment).suffix else experiment
