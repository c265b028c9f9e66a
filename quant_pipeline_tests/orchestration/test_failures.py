"""A failed run's own sentence stands first on its page."""

from __future__ import annotations

import dagster as dg
import pytest

from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.orchestration.failures import reason
from quant_pipeline.orchestration.partitions import fold_key

SYMBOL = "BTC-USD"
TYPES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


def failures(instance: dg.DagsterInstance) -> tuple[str, str]:
    """What the page shows of the failed step and of the run: the first line of the one, the message of the other."""
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    step, whole = (entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=TYPES))
    return step.step_failure_data.error.message.splitlines()[0], whole.message


def test_an_error_of_ours_is_the_first_line(bare_home):
    with bare_home.runner() as runner:
        with pytest.raises(MissingUpstreamError) as caught:
            runner.materialize([dg.AssetKey(["models", "logistic"])], fold_key(SYMBOL, "fold_00"))
        assert failures(runner.instance) == (str(caught.value), str(caught.value))


def test_an_error_that_nobody_foresaw_is_the_first_line(home, monkeypatch):
    from quant_pipeline.validation import splits

    def fail(*_: object) -> None:
        raise ZeroDivisionError("no rows")

    monkeypatch.setattr(splits, "make_splits", fail)
    with home.runner() as runner:
        with pytest.raises(ZeroDivisionError):
            runner.materialize([dg.AssetKey("splits")], SYMBOL)
        assert failures(runner.instance) == ("ZeroDivisionError: no rows", "ZeroDivisionError: no rows")


def test_an_error_of_ours_that_has_a_cause_speaks_for_it():
    from dagster._utils.error import SerializableErrorInfo as Told

    disk = Told("OSError: No space left\n", [], "OSError")
    ours = Told("quant_pipeline.errors.StorageError: raw bars: found no space, wanted some\n", [], "StorageError", disk)
    wrapped = Told("dagster._core.errors.DagsterExecutionStepExecutionError: Error occurred\n", [], "D", ours)
    assert reason(wrapped) == reason(ours) == "raw bars: found no space, wanted some"
    assert reason(disk) == "OSError: No space left"
