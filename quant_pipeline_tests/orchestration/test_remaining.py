from __future__ import annotations

from itertools import chain, repeat
from pathlib import Path

import pytest

from quant_pipeline.orchestration.remaining import QUIET_SECONDS, Compiling, Remaining


@pytest.mark.parametrize(
    ("made", "total", "told"),
    [(2, 40, ""), (40, 40, ""), (10, 12, "about 5 s left"), (10, 30, "about 40 s left"), (10, 100, "about 3 min left")],
)
def test_the_time_left_follows_the_pace_so_far(made, total, told):
    times = iter((100.0, 120.0))
    assert Remaining(lambda: next(times)).told(made, total) == told


def test_kernels_are_compiled_while_their_folder_is_empty_or_grows(tmp_path: Path):
    times = chain((0.0, QUIET_SECONDS - 1, QUIET_SECONDS - 1, 2 * QUIET_SECONDS - 2), repeat(2 * QUIET_SECONDS))
    watch = Compiling(tmp_path, lambda: next(times))
    (tmp_path / "kernel.nbc").touch()
    assert [watch.now() for _ in range(3)] == [True, True, False]


def test_a_folder_that_is_full_already_says_nothing(tmp_path: Path):
    (tmp_path / "kernel.nbc").touch()
    assert not Compiling(tmp_path, lambda: 1.0).now()
