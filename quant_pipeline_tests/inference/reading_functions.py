"""Functions that read a table beside them, each in its own way. A test copies this file away and calls them in another process.

READERS are heard always, CALLERS only where calls are watched; HONEST ones read nothing of a user's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class Kind(list[Callable[[], object]]):
    """Functions that are expected to be heard alike."""

    def add(self, function: Callable[[], object]) -> Callable[[], object]:
        self.append(function)
        return function


READERS, CALLERS, HONEST = Kind(), Kind(), Kind()
TABLE = str(Path(__file__).with_name("table"))


@READERS.add
def by_a_list_of_polars():
    import polars as pl

    return pl.read_parquet([TABLE + ".parquet"])


@READERS.add
def by_a_lazy_list():
    import polars as pl

    return pl.scan_parquet([TABLE + ".parquet"]).collect()


@READERS.add
def by_a_list_of_paths():
    import polars as pl

    return pl.scan_csv([Path(TABLE + ".csv")]).collect()


@READERS.add
def by_a_pattern_in_a_list():
    import polars as pl

    return pl.scan_parquet([TABLE + "*.parquet"]).collect()


@READERS.add
def by_a_list_of_datasets():
    import pyarrow.dataset

    return pyarrow.dataset.dataset([TABLE + ".parquet"]).to_table()


@READERS.add
def by_bytes():
    import pyarrow as pa

    return pa.memory_map((TABLE + ".bin").encode()).read()


@READERS.add
def by_a_file_system():
    import pyarrow.fs

    return pyarrow.fs.LocalFileSystem().open_input_file(TABLE + ".bin").read()


@READERS.add
def by_a_file_system_of_a_uri():
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri("file://" + TABLE + ".bin")
    assert isinstance(system, fs.LocalFileSystem)
    return system.open_input_stream(path).read()


@READERS.add
def by_a_part_of_a_file_system():
    from pyarrow import fs

    return fs.SubTreeFileSystem(str(Path(TABLE).parent), fs.LocalFileSystem()).open_input_stream("table.bin").read()


@READERS.add
def by_a_list_of_duckdb():
    import duckdb

    return duckdb.read_parquet([TABLE + ".parquet"]).fetchall()


@READERS.add
def by_a_parameter():
    import duckdb

    return duckdb.connect().execute("SELECT * FROM read_parquet(?)", [TABLE + ".parquet"]).fetchall()


@READERS.add
def by_a_table_function():
    import duckdb

    return duckdb.connect().table_function("read_parquet", [TABLE + ".parquet"]).fetchall()


@READERS.add
def by_a_method_of_a_connection():
    import importlib

    return importlib.import_module("duckdb").connect().from_parquet(TABLE + ".parquet").fetchall()


@READERS.add
def by_a_view():
    import duckdb

    return duckdb.sql("SELECT 1").query("one", f"SELECT * FROM '{TABLE}.parquet'").fetchall()  # noqa: S608


@READERS.add
def by_ctypes():
    import ctypes

    system, kept = ctypes.CDLL(None), ctypes.create_string_buffer(80)
    system.read(system.open((TABLE + ".bin").encode(), 0), kept, 80)
    return kept.raw


@READERS.add
def by_running_a_file():
    import runpy

    return runpy.run_path(TABLE + ".py")["CLOSE"]


@READERS.add
def by_loading_a_file():
    import importlib.util

    spec = importlib.util.spec_from_file_location("closes", TABLE + ".py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CLOSE


@READERS.add
def by_reading_code():
    return Path(TABLE + ".py").read_text()


@READERS.add
def by_a_cache_of_lines():
    import linecache

    return linecache.getline(TABLE + ".csv", 3)


@READERS.add
def by_a_fork():
    import os

    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


@READERS.add
def by_a_pool_of_processes():
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(len, TABLE).result()


@READERS.add
def by_shared_memory():
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=8)
    memory.close()
    memory.unlink()


@READERS.add
def by_a_variable():
    import os

    return os.environ["PATH"]


@READERS.add
def by_a_variable_that_may_be_absent():
    import os

    return os.getenv("NOT_THERE", "1.5"), os.environ.get("NOT_THERE")


@CALLERS.add
def by_an_address_with_a_query():
    import xgboost

    return xgboost.DMatrix(TABLE + ".csv?format=csv")


@CALLERS.add
def by_torch():
    import torch

    return torch.from_file(TABLE + ".bin", size=10, dtype=torch.float64)


@CALLERS.add
def by_a_storage():
    import torch

    return torch.UntypedStorage.from_file(TABLE + ".bin", False, 80)


@CALLERS.add
def by_a_list_for_any_library():
    import pandas as pd

    return pd.Index([TABLE + ".csv"])


@HONEST.add
def of_arrays():
    import numpy as np
    import polars as pl

    values = np.array([1.0, 2.0])
    return pl.DataFrame({"a.b": values}).select(["a.b"]).to_numpy().sum(), np.frombuffer(values.tobytes()), np.loadtxt(["1.0"])


@HONEST.add
def of_memory():
    import io

    import pandas as pd
    import polars as pl

    return pl.read_csv(b"a,b\n1.0,2.0"), pd.read_csv(io.StringIO("a.b,c\n1,2"), names=["a.b", "c"]), pl.sql("SELECT 1 AS one")


@HONEST.add
def of_a_library_made_by_ctypes():
    import xgboost

    return xgboost.DMatrix([[1.0]]).num_row()


@HONEST.add
def memory_without_a_file():
    import mmap

    return mmap.mmap(-1, 8)


@HONEST.add
def a_library_that_reads_variables():
    import shutil
    import zoneinfo

    return shutil.which("sh"), zoneinfo.ZoneInfo("UTC"), Path("~").expanduser()
