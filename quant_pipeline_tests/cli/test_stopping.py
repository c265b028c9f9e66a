"""Ctrl-C and SIGTERM: one calm line, 130 and 143, whoever had turned the signal into an error."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest
import typer

from quant_pipeline.cli.shell import guarded
from quant_pipeline.cli.stopping import SIGNALS, Stops
from quant_pipeline.errors import DataError


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("instead", [None, DataError("audit", found="killed", wanted="an end", mend="run again"), SystemExit()])
def test_a_signal_ends_in_one_line_and_its_code_whatever_a_library_made_of_it(capsys, number, code, instead):
    @guarded
    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except KeyboardInterrupt as error:
            raise (instead or error) from None

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == code
    assert capsys.readouterr().out.splitlines() == ["Stopped. Nothing half-written stays; the same command goes on from here."]


def test_a_signal_to_a_forked_child_is_none_to_the_parent():
    with Stops() as stops:
        child = os.fork()
        if not child:
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        os.waitpid(child, 0)
        assert stops.code(ValueError()) is None


def test_handlers_are_as_before_when_it_is_over():
    before = [signal.getsignal(one) for one in SIGNALS]
    with Stops() as stops:
        assert stops.code(ValueError()) is None
        assert stops.code(KeyboardInterrupt()) == 130
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_processes_of_a_run_do_not_hear_ctrl_c_at_the_terminal(monkeypatch):
    """They are in a group of their own; the run ends them."""
    import subprocess

    from quant_pipeline.orchestration import processes

    asked = {}
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **given: asked.update(given))
    processes.start("m", (), SimpleNamespace(workplace=SimpleNamespace(environment=dict)), {})
    assert asked["process_group"] == 0
