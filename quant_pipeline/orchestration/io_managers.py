"""Where asset values are kept: tables as Parquet, fitted models as folders; whole or absent, never half-written."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import polars as pl
from upath import UPath

from quant_pipeline.files import read_parquet, replacing, stands, write_parquet
from quant_pipeline.orchestration.remaking import missing_upstream, remake


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


class TableIOManager(_Lake):
    """Polars frames as sealed zstd Parquet; a damaged one names the command that makes it again."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:  # noqa: ARG002 - Dagster's signature
        write_parquet(Path(str(path)), obj)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        partition = Path(str(path)).relative_to(self.root.joinpath(*context.asset_key.path)).with_suffix("")
        return read_parquet(Path(str(path)), remake(context.asset_key, "|".join(partition.parts)))


class FolderIOManager(_Lake):
    """Anything that saves itself into a folder: read by the `load` of the annotated class, else by the model registry."""

    def dump_to_path(self, context: dg.OutputContext, obj: Saves, path: UPath) -> None:  # noqa: ARG002 - Dagster's signature
        with replacing(Path(str(path))) as temporary:
            obj.save(temporary)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        from quant_pipeline.models.registry import load_model

        asked = context.dagster_type.typing_type
        one = typing.get_args(asked)[-1] if typing.get_origin(asked) is dict else asked  # several partitions: a dict of it
        return getattr(one, "load", load_model)(Path(str(path)))
