from __future__ import annotations

import os
import subprocess
import sys

import pytest

from quant_pipeline.orchestration.owners import BOOT_ID, BOOT_TAG, BORN_TAG, PID_TAG, gone, owner_tags


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_this_process_is_not_gone():
    assert owner_tags()[PID_TAG] == str(os.getpid())
    assert not gone(owner_tags())


def test_tags_that_name_no_process_tell_nothing():
    assert not gone({BOOT_TAG: "another"})


def test_a_process_of_another_boot_is_gone_whoever_has_its_number_now():
    assert gone({**owner_tags(), BOOT_TAG: "another"})


@pytest.mark.skipif(not BOOT_ID.exists(), reason="the system does not tell when a process began")
def test_a_number_that_another_process_was_given_is_no_life():
    assert gone({**owner_tags(), BORN_TAG: "1"})


@pytest.mark.skipif(not BOOT_ID.exists(), reason="the system does not tell a dead child that nobody asked after")
def test_a_killed_process_is_gone_before_its_parent_asks_after_it(sleeper):
    from quant_pipeline.orchestration import owners

    tags = {PID_TAG: str(sleeper.pid), BORN_TAG: owners._born(str(sleeper.pid))}
    assert not gone(tags)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert gone(tags)


def test_a_process_that_ended_is_gone(sleeper):
    tags = {PID_TAG: str(sleeper.pid)}
    assert not gone(tags)
    sleeper.kill()
    sleeper.wait()
    assert gone(tags)
