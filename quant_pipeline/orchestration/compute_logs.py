"""Where a step's prints go: into its log file, and not onto the terminal too, where a live view stands.

Dagster's own manager lets four processes a step copy both streams back to the terminal. On Ctrl-C they die with tracebacks,
and starting them takes longer than many a step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._utils import ensure_file, touch_file

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


class Logs(LocalComputeLogManager):
    """Files under `base_dir`, as `LocalComputeLogManager` keeps and reads them."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """What `dagster.yaml` asks for."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Standard output and error of the block go into the files of `log_key`."""
        out, errors = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        ensure_file(out)
        ensure_file(errors)
        with redirect_to_file(sys.stdout, out), redirect_to_file(sys.stderr, errors):
            yield CapturedLogContext(log_key)
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]
