"""`quant`: the front door from the shell. Every command works on the same assets that the Dagster UI shows.

One module a group of commands; `shell` is what they hang on, and importing them here is what adds them to it.
"""

from quant_pipeline.cli import asking, choosing, listing, making, tending
from quant_pipeline.cli.ending import main
from quant_pipeline.cli.shell import app, console

__all__ = ["app", "asking", "choosing", "console", "listing", "main", "making", "tending"]
