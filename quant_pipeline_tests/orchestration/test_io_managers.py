from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.errors import BundleError, DataError, MissingUpstreamError, StorageError
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.orchestration.io_managers import FolderIOManager, TableIOManager
from quant_pipeline.orchestration.partitions import fold_key

FRAME = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
SYMBOLS = dg.StaticPartitionsDefinition(["GC=F", "BRK.B"])
FOLDS = dg.MultiPartitionsDefinition({"symbol": SYMBOLS, "fold": dg.StaticPartitionsDefinition(["fold_00"])})
FOLD = fold_key("GC=F", "fold_00")


class Model:
    def __init__(self, text: str = "weights", *, breaks: bool = False) -> None:
        self.text, self.breaks = text, breaks

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(self.text)
        if self.breaks:
            raise OSError(28, "No space left on device")

    @classmethod
    def load(cls, folder: Path) -> "Model":
        return cls((folder / "weights").read_text())


def written(manager: dg.UPathIOManager, key: list[str], value: object, partition: str = "GC=F", partitions=SYMBOLS) -> None:
    context = dg.build_output_context(
        asset_key=dg.AssetKey(key), partition_key=partition, asset_partitions_def=partitions,
        dagster_type=dg.PythonObjectDagsterType(object),
    )  # fmt: skip
    manager.handle_output(context, value)


def read(manager: dg.UPathIOManager, key: list[str], kind: type = pl.DataFrame, partition: str = "GC=F", partitions=SYMBOLS):
    context = dg.build_input_context(
        asset_key=dg.AssetKey(key), partition_key=partition, asset_partitions_def=partitions,
        dagster_type=dg.PythonObjectDagsterType(kind), asset_partition_key_range=dg.PartitionKeyRange(partition, partition),
    )  # fmt: skip
    return manager.load_input(context)


def test_a_table_is_kept_by_asset_and_symbol(tmp_path):
    written(TableIOManager(tmp_path), ["bars", "1h"], FRAME)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")] == ["bars/1h/GC=F.parquet"]
    assert read(TableIOManager(tmp_path), ["bars", "1h"]).equals(FRAME)


def test_a_fold_is_kept_by_fold_and_symbol(tmp_path):
    written(TableIOManager(tmp_path), ["oof"], FRAME, FOLD, FOLDS)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")] == ["oof/fold_00/GC=F.parquet"]


def test_a_symbol_may_hold_a_dot(tmp_path):
    written(TableIOManager(tmp_path), ["features"], FRAME, "BRK.B")
    assert (tmp_path / "features" / "BRK.B.parquet").is_file()
    assert read(TableIOManager(tmp_path), ["features"], partition="BRK.B").equals(FRAME)


def test_a_folder_value_saves_and_loads_itself(tmp_path):
    written(FolderIOManager(tmp_path), ["meta"], Model("a"))
    written(FolderIOManager(tmp_path), ["meta"], Model("b"))
    assert read(FolderIOManager(tmp_path), ["meta"], Model).text == "b"


def test_a_save_that_fails_keeps_the_old_folder(tmp_path):
    manager = FolderIOManager(tmp_path)
    written(manager, ["meta"], Model("old"))
    with pytest.raises(StorageError, match="No space left"):
        written(manager, ["meta"], Model("half", breaks=True))
    assert read(manager, ["meta"], Model).text == "old"
    assert [path.name for path in (tmp_path / "meta").iterdir()] == ["GC=F"]


def test_the_folds_of_a_symbol_come_as_a_dict_of_the_annotated_class(tmp_path, make_preparation):
    """What `bundle` asks for: one input, several partitions of a folder value."""
    folds = dg.MultiPartitionsDefinition({"symbol": SYMBOLS, "fold": dg.StaticPartitionsDefinition(["fold_00", "holdout"])})
    seen = {}

    @dg.asset(partitions_def=folds, dagster_type=dg.Any)
    def selection(context: dg.AssetExecutionContext):
        return make_preparation(f"{context.partition_key.keys_by_dimension['fold']}_1h")

    @dg.asset(partitions_def=SYMBOLS, dagster_type=dg.Any)
    def reader(selection: dict[str, Preparation]):
        seen.update(selection)
        return Model()

    resources = {"io_manager": FolderIOManager(tmp_path)}
    for fold in ("fold_00", "holdout"):
        dg.materialize([selection], partition_key=fold_key("GC=F", fold), resources=resources)
    assert dg.materialize([selection, reader], selection=[reader], partition_key="GC=F", resources=resources).success
    assert {key: type(value) for key, value in seen.items()} == dict.fromkeys(("fold_00|GC=F", "holdout|GC=F"), Preparation)
    assert [seen[key].selection.columns for key in sorted(seen)] == [("fold_00_1h",), ("holdout_1h",)]


@pytest.mark.parametrize("manager", [TableIOManager, FolderIOManager])
def test_what_was_never_made_names_the_command_that_makes_it(tmp_path, manager):
    with pytest.raises(MissingUpstreamError, match="run: quant materialize 'models/x/GC=F'"):
        read(manager(tmp_path), ["models", "x"])
    with pytest.raises(MissingUpstreamError, match="run: quant materialize 'models/x/GC=F/fold_00'"):
        read(manager(tmp_path), ["models", "x"], partition=FOLD, partitions=FOLDS)


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else"])
def test_a_damaged_table_names_itself_and_the_command(tmp_path, content):
    written(TableIOManager(tmp_path), ["oof"], FRAME, FOLD, FOLDS)
    path = tmp_path / "oof" / "fold_00" / "GC=F.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="run: quant materialize 'oof/GC=F/fold_00'") as caught:
        read(TableIOManager(tmp_path), ["oof"], partition=FOLD, partitions=FOLDS)
    assert str(path) in str(caught.value)


def test_a_table_with_a_flipped_bit_is_refused(tmp_path):
    written(TableIOManager(tmp_path), ["oof"], FRAME)
    path = tmp_path / "oof" / "GC=F.parquet"
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 3] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(DataError, match=r"damaged.*run: quant materialize 'oof/GC=F'"):
        read(TableIOManager(tmp_path), ["oof"])


def test_a_folder_that_no_model_saved_is_refused(tmp_path):
    (tmp_path / "models" / "GC=F").mkdir(parents=True)
    with pytest.raises(BundleError):
        read(FolderIOManager(tmp_path), ["models"], object)
