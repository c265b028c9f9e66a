"""The command that makes an asset's value, and the error for a value that was never made.

Apart from the IO managers, which can load every model: an edit of a model is no reason to make bars again.
"""

from __future__ import annotations

import dagster as dg

from quant_pipeline.config.commands import command
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.orchestration.partitions import spelled


def missing_upstream(key: dg.AssetKey, partition: str) -> MissingUpstreamError:
    """The error for an input that was never made, with the exact command that makes it."""
    return MissingUpstreamError(
        f"{key.to_user_string()} of {spelled(partition)}",
        found="nothing in the lake",
        wanted="its last materialization",
        mend=remake(key, partition),
    )


def remake(key: dg.AssetKey, partition: str) -> str:
    """The command that makes an asset's partition."""
    return "run: " + command(f"quant materialize '{key.to_user_string()}/{spelled(partition)}'")


def retrain(symbol: str) -> str:
    """The command that makes all that a symbol's training leaves behind."""
    return "run: " + command(f"quant train '{symbol}'")
