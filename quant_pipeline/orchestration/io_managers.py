"""Where asset values are kept: tables as Parquet, fitted models as folders; whole or absent, never half-written.

The record of what was made tells its digest: after a kill between the two, what stands there is not what the record is of.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import polars as pl
from upath import UPath

from quant_pipeline.files import content_hash, read_parquet, replacing, stands, write_parquet
from quant_pipeline.orchestration.remaking import missing_upstream, remake

DIGEST = "quant/digest"
"""Metadata of a record: the digest of what was written."""


class Saves(Protocol):
    """A value that writes itself into a folder."""

    def save(self, folder: Path) -> None:
        """Write everything into `folder`."""


class _Lake(dg.UPathIOManager):
    """Paths are `<lake>/<asset key>/<partition>`; a missing input names the command that makes it."""

    def __init__(self, root: Path) -> None:
        super().__init__(base_path=UPath(str(root)))
        self.root = root

    def load_input(self, context: dg.InputContext) -> Any:
        for partition, path in self._get_paths_for_partitions(context).items() if context.has_asset_partitions else ():
            if not stands(Path(str(path))):
                raise missing_upstream(context.asset_key, partition)
        return super().load_input(context)

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        """Write the value, and let its record tell what was written."""
        place = Path(str(path))
        self._write(obj, place)
        context.add_output_metadata({DIGEST: content_hash(place)})

    def _write(self, value: Any, place: Path) -> None:
        raise NotImplementedError


class TableIOManager(_Lake):
    """Polars frames as sealed zstd Parquet; a damaged one names the command that makes it again."""

    extension = ".parquet"

    def _write(self, value: pl.DataFrame, place: Path) -> None:
        write_parquet(place, value)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        partition = Path(str(path)).relative_to(self.root.joinpath(*context.asset_key.path)).with_suffix("")
        return read_parquet(Path(str(path)), remake(context.asset_key, "|".join(partition.parts)))


class FolderIOManager(_Lake):
    """Anything that saves itself into a folder: read by the `load` of the annotated class, else by the model registry."""

    def _write(self, value: Saves, place: Path) -> None:
        with replacing(place) as temporary:
            value.save(temporary)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        from quant_pipeline.models.registry import load_model

        asked = context.dagster_type.typing_type
        one = typing.get_args(asked)[-1] if typing.get_origin(asked) is dict else asked  # several partitions: a dict of it
        return getattr(one, "load", load_model)(Path(str(path)))
