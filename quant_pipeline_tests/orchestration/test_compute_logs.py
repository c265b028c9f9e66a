from __future__ import annotations

import subprocess
import sys

import dagster as dg

from quant_pipeline.orchestration.compute_logs import Logs


def test_what_a_step_prints_goes_into_its_file_and_no_process_copies_it_to_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    logs, key = Logs(str(tmp_path)), ["run", "compute_logs", "step"]
    with logs.capture_logs(key):
        print("made")
        print("odd", file=sys.stderr)
    told = logs.get_log_data(key)
    assert (told.stdout, told.stderr, logs.is_capture_complete(key)) == (b"made\n", b"odd\n", True)


def test_the_instance_keeps_its_logs_so(bare_home):
    with bare_home.open() as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert type(instance.compute_log_manager) is Logs
