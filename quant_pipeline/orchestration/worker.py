"""A second process that materializes what does not depend on what this one makes: two folds are trained on two cores.

They talk by its standard input and output, a line of JSON each way. It ends when its input does, so that a run that is
killed leaves nothing behind that writes. Until the first order it compiles kernels, which a new installation has to do once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from quant_pipeline import errors
from quant_pipeline.errors import QuantError
from quant_pipeline.orchestration.processes import house_of, processes, start, told_settings

if TYPE_CHECKING:
    import dagster as dg

    from quant_pipeline.orchestration.house import House
    from quant_pipeline.orchestration.runner import Runner

MODULE = "quant_pipeline.orchestration.worker"
COMPILED = 2_000
"""Bars' lengths that the bars to compile with reach back: a few hundred bars in any market."""


class Worker:
    """The other end of that process: nothing before `start`, and ended with the context."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def _streams(self) -> tuple[IO[bytes], IO[bytes]]:
        """What the process reads and what it writes; for use after `start`."""
        process = cast("subprocess.Popen[bytes]", self._process)
        return cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)

    def start(self, symbol: str) -> None:
        """Start the process, once: it takes seconds to import what it needs, while this one works on."""
        if self._process is None:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = start(MODULE, (), self._house, streams)
            self._tell({**told_settings(self._house), "symbol": symbol})

    def materialize(self, keys: Sequence[dg.AssetKey], partition: str, run_id: str, moment: Mapping[str, str]) -> bool:
        """Let it make `keys`; see `Runner.materialize`. False: it could not, for a reason that is not the assets' own.

        Raises:
            QuantError: what an asset raised there.
        """
        self._tell({"keys": [key.path for key in keys], "partition": partition, "run_id": run_id, "moment": dict(moment)})
        answer = json.loads(self._streams[1].readline() or "{}")
        if "error" in answer:
            raise _raised(answer["error"])
        return bool(answer.get("done"))

    def _tell(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it died, which its answer tells
            self._streams[0].write(json.dumps(message).encode() + b"\n")
            self._streams[0].flush()


def beside(house: House) -> AbstractContextManager[Worker | None]:
    """A worker for runs of `house`; none where a run is to work in one process."""
    return Worker(house) if processes() > 1 else nullcontext()


def _raised(told: Mapping[str, str]) -> QuantError:
    kind: type[QuantError] = getattr(errors, told["kind"])
    return kind(told["thing"], found=told["found"], wanted=told["wanted"], mend=told["mend"])


def main() -> None:
    """Work off orders until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the run, which ends this process
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what assets print is no answer
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    first = json.loads(sys.stdin.readline() or "{}")
    if not first:
        return
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    house = house_of(first)
    make = _maker(house)
    with suppress(Exception):  # what is wrong with the bars, the asset that reads them tells
        _compile(house, first["symbol"], orders.empty)
    while True:
        _answer(answers, make, orders.get())


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def _maker(house: House) -> Callable[[dict[str, Any]], None]:
    import dagster as dg

    from quant_pipeline.definitions import build_defs
    from quant_pipeline.orchestration.runner import Runner

    runner: Runner = Runner(build_defs(house), dg.DagsterInstance.get(), house)

    def make(order: dict[str, Any]) -> None:
        keys = [dg.AssetKey(path) for path in order["keys"]]
        runner.materialize(keys, order["partition"], order["run_id"], order["moment"])

    return make


def _answer(answers: IO[str], make: Callable[[dict[str, Any]], None], order: dict[str, Any]) -> None:
    told: dict[str, Any] = {"done": True}
    try:
        make(order)
    except QuantError as error:
        parts = {name: str(getattr(error, name)) for name in ("thing", "found", "wanted", "mend")}
        told = {"error": {"kind": type(error).__name__, **parts}}
    except Exception as error:  # noqa: BLE001 - the run makes it again, and meets and tells the same
        told = {"failed": repr(error)}
    answers.write(json.dumps(told) + "\n")
    answers.flush()


def _compile(house: House, symbol: str, idle: Callable[[], bool]) -> None:
    """Compute families of features of a few bars, the last first: the run begins with the first, and finds these compiled."""
    from quant_pipeline.config.timeframes import duration
    from quant_pipeline.features.build import build_features
    from quant_pipeline.features.groups import narrowed
    from quant_pipeline.inference.context import primary_bars

    settings, primary = house.experiment.features, house.experiment.primary
    end = house.cutoff(symbol)
    bars = primary_bars(house.desk(), symbol, end - COMPILED * duration(primary), end)
    for family in reversed(settings.families):
        if bars.height and idle():
            build_features({primary: bars}, narrowed(settings, (family,)), primary, house.symbol(symbol).calendar)


if __name__ == "__main__":
    main()
