"""SQLite files that stay open: few at once, closed when told, set up once, and what was committed survives a kill."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.test_utils import create_run_for_test

from quant_pipeline.orchestration.connections import OPEN, Connections

TABLE = sa.text("CREATE TABLE told (word TEXT)")
WRITE = """
import os, signal, sys
import sqlalchemy as sa
from quant_pipeline.orchestration.connections import Connections
with Connections(lambda _: None).engine(sys.argv[1]).begin() as connection:
    connection.execute(sa.text("INSERT INTO told VALUES ('kept')"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def prepared() -> list[str]:
    return []


@pytest.fixture
def connections(prepared) -> Connections:
    def prepare(engine: sa.Engine) -> None:
        prepared.append(str(engine.url))
        with engine.begin() as connection:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
            connection.execute(TABLE)

    return Connections(prepare)


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def write(connections: Connections, path: Path, word: str) -> None:
    with connections.engine(url(path)).begin() as connection:
        connection.execute(sa.text("INSERT INTO told VALUES (:word)"), {"word": word})


def words(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM told")]


def opened(folder: Path) -> set[str]:
    """Databases in `folder` that this process has open."""
    files = {link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()}
    return {file.name for file in files if file.is_relative_to(folder) and file.suffix == ".db"}


def test_a_file_stays_open_and_others_see_what_was_written(connections, prepared, tmp_path):
    for word in ("a", "b"):
        write(connections, tmp_path / "one.db", word)
        assert words(tmp_path / "one.db")[-1] == word
    assert opened(tmp_path) == {"one.db"}
    assert prepared == [url(tmp_path / "one.db")]


def test_few_are_open_at_once_and_none_is_set_up_twice(connections, prepared, tmp_path):
    names = [f"{number}.db" for number in range(OPEN + 3)]
    for name in [*names, names[0]]:
        write(connections, tmp_path / name, name)
    assert opened(tmp_path) == {names[0], *names[-OPEN + 1 :]}
    assert len(prepared) == len(names)
    assert words(tmp_path / names[0]) == [names[0]] * 2


def test_what_is_closed_leaves_nothing_beside_the_file(connections, tmp_path):
    write(connections, tmp_path / "one.db", "a")
    connections.close()
    assert opened(tmp_path) == set()
    assert [path.name for path in tmp_path.iterdir()] == ["one.db"]


def test_a_file_that_was_forgotten_and_removed_is_set_up_again(connections, tmp_path):
    path = tmp_path / "one.db"
    write(connections, path, "a")
    connections.forget(url(path))
    path.unlink()
    write(connections, path, "b")
    assert words(path) == ["b"]


def test_what_was_committed_survives_a_kill(connections, tmp_path):
    write(connections, tmp_path / "one.db", "a")
    killed = subprocess.run([sys.executable, "-c", WRITE, url(tmp_path / "one.db")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert words(tmp_path / "one.db") == ["a", "kept"]


def test_dagster_wipes_and_closes_what_it_has_open(bare_home):
    folder = bare_home.root / "data" / "dagster"
    with bare_home.open() as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run)
        assert opened(folder) >= {f"{run.run_id}.db", "index.db"}
        instance.wipe()
        instance.report_run_failed(create_run_for_test(instance, run_id=run.run_id, status=dg.DagsterRunStatus.STARTED))
        assert len(instance.all_logs(run.run_id)) > 0
    assert opened(folder) == set()
