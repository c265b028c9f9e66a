"""The process in which the gate makes rows of features again: nothing later than a row's own moment was ever computed in it.

`remake_rows` starts it and waits; `main` is what runs in it. They talk by files: settings as JSON, rows as Parquet. Nothing
of features is imported at the top of this module: `main` listens to what they open before that.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_pipeline.files import read_parquet
from quant_pipeline.inference.watch import Watch
from quant_pipeline.orchestration import processes

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from quant_pipeline.inference.gate import Remaker
    from quant_pipeline.orchestration.house import House

READS = (
    "features", "primary", "ladder", "news", "foundation", "history_days", "seed", "symbol.calendar", "symbol.correlated",
    "symbol.adjustments",
)  # fmt: skip
"""Settings that rows of features depend on."""
MODULE = "quant_pipeline.orchestration.audit_process"
CELLS = 20_000
"""Values (moments by columns) that are worth a second process; starting one takes a second and a half."""


@dataclass(frozen=True, eq=False)
class Remade:
    """Rows of FEATURES made again, faults of what is beneath them, and what feature code opened: (who, where, what)."""

    rows: list[pl.DataFrame]
    faults: list[pl.DataFrame]
    accesses: list[list[str]]


@dataclass
class Running:
    """Tells which features a frame computes: those of one function, whatever code it shares with others."""

    code: CodeType | None = None
    names: dict[int, str] = field(default_factory=dict)

    def learn(self, families: Sequence[str]) -> None:
        """From now on know the features of `families`."""
        from quant_pipeline.features.registry import FeatureSpec, specs

        self.code = FeatureSpec.raw.__code__
        for spec in specs(families):
            one = id(spec.function)
            self.names[one] = f"{self.names[one]}, {spec.name}" if one in self.names else spec.name

    def __call__(self, frame: FrameType) -> str | None:
        """Names of the features that `frame` computes; None where it is none that does."""
        return self.names.get(id(frame.f_locals["self"].function)) if frame.f_code is self.code else None


def remake_rows(
    house: House, symbol: str, moments: Sequence[datetime], raw: Sequence[datetime], modules: Sequence[str], *, width: int
) -> Remade:
    """Make the rows at `moments` again, in fresh processes; those in `raw` from raw bars.

    Args:
        house: whose stores are read.
        symbol: whose features.
        moments: decisions, sorted.
        raw: those of them that begin at the raw bars.
        modules: that register the features.
        width: columns of the features, which decide how many processes are worth their start.
    """
    apart = processes.processes() > 1 and len(moments) * width > CELLS
    with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
        shares = [raw, sorted(set(moments) - set(raw))] if apart else [moments]
        asked = [_request(house, symbol, share, sorted(set(share) & set(raw)), modules) for share in shares]
        running = [_start(house, Path(folder) / str(number), request) for number, request in enumerate(asked)]
        try:
            told = [_finish(process, Path(folder) / str(number)) for number, process in enumerate(running)]
        finally:
            for process in running:
                process.kill()
                process.wait()
    return Remade(
        [row for one in told for row in one.rows],
        [faults for one in told for faults in one.faults],
        [access for one in told for access in one.accesses],
    )


def _request(
    house: House, symbol: str, moments: Sequence[datetime], raw: Sequence[datetime], modules: Sequence[str]
) -> dict[str, Any]:
    return {
        **processes.told_settings(house), "symbol": symbol,
        "start": house.history_start(symbol).isoformat(), "end": house.cutoff(symbol).isoformat(),
        "modules": list(modules), "moments": [at.isoformat() for at in moments], "raw": [at.isoformat() for at in raw],
    }  # fmt: skip


def _start(house: House, folder: Path, request: dict[str, Any]) -> subprocess.Popen[bytes]:
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    with (folder / "stderr").open("wb") as errors:
        return processes.start(MODULE, [str(folder)], house, {"stdout": errors, "stderr": errors})


def _finish(process: subprocess.Popen[bytes], folder: Path) -> Remade:
    from quant_pipeline.inference.faults import failure_fault

    process.wait()
    tables = {kind: [pl.read_parquet(path) for path in sorted(folder.glob(f"{kind}*.parquet"))] for kind in ("row", "bars")}
    told = folder / "accesses.json"
    made = Remade(tables["row"], tables["bars"], json.loads(told.read_text(encoding="utf-8")) if told.exists() else [])
    failed = folder / "failed.json"
    if failed.exists():
        made.faults.append(failure_fault(*json.loads(failed.read_text(encoding="utf-8"))))
    elif process.returncode:
        said = (folder / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        made.faults.append(failure_fault("features", said[-1] if said else f"exit {process.returncode}"))
    return made


def main(folder: Path) -> None:
    """Make the rows that `request.json` in `folder` asks for, and leave them there."""
    asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    running = Running()
    watch = Watch(running, _code(asked["modules"]))
    with watch.listening():
        _import(asked["modules"])
    remaker = _remaker(asked, watch)
    running.learn(remaker.desk.experiment.features.families)
    try:
        _make(remaker, asked["moments"], set(asked["raw"]), folder, watch)
    except Exception as error:  # noqa: BLE001 - whatever a feature raises is told as its fault
        who = next((name for name in map(running, _frames(error)) if name is not None), "features")
        (folder / "failed.json").write_text(json.dumps([who, f"{type(error).__name__}: {error}"]), encoding="utf-8")
    (folder / "accesses.json").write_text(json.dumps(list(watch.found)), encoding="utf-8")


def _make(remaker: Remaker, moments: Sequence[str], raw: set[str], folder: Path, watch: Watch) -> None:
    """Make the rows. Calls are watched in those from raw bars: in the first of all, where memos are filled, and in some."""
    rows = []
    try:
        for number, text in enumerate(moments):
            moment = datetime.fromisoformat(text)
            watch.calls = text in raw
            if text in raw:
                row, faults = remaker.row_from_raw(moment)
                faults.write_parquet(folder / f"bars-{number:06}.parquet")
            else:
                row = remaker.row(moment)
            rows.append(row)
    finally:
        if rows:  # one file: a row has hundreds of columns, and each file tells all their names
            pl.concat(rows, how="diagonal").write_parquet(folder / "row.parquet")


def _frames(error: BaseException) -> list[FrameType]:
    """Every function between where `error` was caught and where it was raised."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _code(modules: Sequence[str]) -> list[str]:
    """Where the code of `modules` lies, each within its package: it may be outside the package and the plugins' folders."""
    places: list[str] = []
    for name in sorted({name.partition(".")[0] for name in modules}):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            places += [place + os.sep for place in spec.submodule_search_locations]
        elif spec is not None:
            places += [place for place in (spec.origin, spec.cached) if place]
    return [os.path.realpath(place) + os.sep * place.endswith(os.sep) for place in places]


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        # what cannot be imported here was defined in the other process alone; its columns will be missing, which is told
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)


def _remaker(asked: dict[str, Any], watch: Watch) -> Remaker:
    from quant_pipeline.inference.gate import Remaker
    from quant_pipeline.orchestration.reading import limited

    house = limited(processes.house_of(asked), READS, "feature_audit")  # it reads settings as the asset does: those alone
    start, end = (datetime.fromisoformat(asked[name]) for name in ("start", "end"))
    remaker = Remaker(house.desk(), asked["symbol"], start, end, watch.listening, *_finished(house, asked["symbol"]))
    remaker.prepare()
    return remaker


def _finished(house: House, symbol: str) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Bars as training reads them, by rung; and those of each correlated symbol, none where no family reads them."""
    from quant_pipeline.bars.build import rungs_of

    lake, experiment = house.workplace.lake, house.experiment
    rungs = rungs_of(house.store.intervals(symbol), experiment.rungs)
    bars = {rung: _stored(lake / "bars" / rung / f"{symbol}.parquet") for rung in rungs}
    if "cross_asset" not in experiment.features.families:
        return bars, {}
    told = _stored(lake / "correlated_bars" / f"{symbol}.parquet")
    return bars, {name: told.filter(pl.col("other") == name).drop("other") for name in house.symbol(symbol).correlated}


def _stored(path: Path) -> pl.DataFrame:
    return read_parquet(path, "run the same command again")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
