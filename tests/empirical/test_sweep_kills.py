"""Runs that are killed, interrupted or doubled, as real processes, come to the table of one that was left alone."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from empirical.cells import Cell
from empirical.store import Store
from empirical.sweep import run
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

ROOT = Path(__file__).parents[2]
SHORT = TrainingSettings(batch_size=32, num_batches=4, epochs=6, accuracy_window=10)
NOT_DETERMINED = ["seconds", "date", "machine", "versions", "git_revision"]


def table(path: Path) -> pd.DataFrame:
    with Store(path) as store:
        return store.table().drop(columns=NOT_DETERMINED)


def computed(cells: Sequence[Cell], path: Path, **options: Any) -> pd.DataFrame:
    with Store(path) as store:
        run(cells, store, **options)
        return store.table().drop(columns=NOT_DETERMINED)


def check_file(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Real processes, really killed. One process imports everything once and forks a child for each command.

SERVER = """
import json, os, signal, sys, time, traceback
import torch
from contextlib import contextmanager
from empirical import _store_file, store as stores
from empirical.cells import Cell
from empirical.store import Store
from empirical.sweep import run

def say(**what):
    os.write(1, (json.dumps(what) + chr(10)).encode())

def sweep(path, specs, log):
    real = Store.put
    def put(self, results, origin=None):
        said = real(self, results, origin)
        with open(log, "a") as file:
            file.write("".join(result.cell.key + chr(10) for result in results))
        return said
    Store.put = put
    with Store(path) as store:
        run([Cell.from_spec(spec) for spec in specs], store, progress=lambda state: say(done=state.done, running=state.running))

def stuck(path, specs, log):
    real, before = stores.transaction, []
    @contextmanager
    def transaction(connection):
        with real(connection):
            yield
            before.append(0)
            if len(before) == 3:  # written, not yet committed
                say(inside=True)
                time.sleep(600)
    stores.transaction = transaction
    sweep(path, specs, log)

def hammer(path, specs, log):
    from empirical.cells import CellResult
    with Store(path) as store:
        for number, spec in enumerate(specs):
            store.put([CellResult(Cell.from_spec(spec), "done", held=number)])
            say(kept=number)

say(ready=True)
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "wait":
        say(rc=os.waitstatus_to_exitcode(os.waitpid(command["pid"], 0)[1]))
        continue
    pid = os.fork()
    if not pid:
        code = 1
        try:
            globals()[command["do"]](command["path"], command["specs"], command["log"])
            code = 0
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    say(pid=pid)
"""


class Server:
    """Starts children and hears what they say."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.said: list[dict[str, Any]] = []
        self.hear("ready")

    def hear(self, name: str) -> Any:
        """Listen until something of that name is said."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, "the server ended"
            self.said.append(json.loads(line))
            if name in self.said[-1]:
                return self.said[-1][name]

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def start(self, do: str, path: Path, cells: Sequence[Cell], log: Path) -> int:
        self.tell(do=do, path=str(path), specs=[cell.spec for cell in cells], log=str(log))
        return int(self.hear("pid"))

    def wait(self, pid: int) -> int:
        self.tell(do="wait", pid=pid)
        return int(self.hear("rc"))

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


LONGER = TrainingSettings(batch_size=32, num_batches=16, epochs=16, accuracy_window=10)
SLOW = [Cell(6, TransformerShape(d, heads, d), n, settings=LONGER) for d in (2, 3, 5) for heads in (1, 13) for n in range(4)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, float]:
    """The table of SLOW, and the seconds it takes."""
    start = time.monotonic()
    return computed(SLOW, tmp_path_factory.mktemp("whole") / "a"), time.monotonic() - start


def test_killed_at_any_time_it_comes_to_the_same_table(
    tmp_path: Path, server: Server, uninterrupted: tuple[pd.DataFrame, float]
) -> None:
    whole, seconds = uninterrupted
    path, log, rng = tmp_path / "a", tmp_path / "log", random.Random(1)
    Store(path).close()
    kept: set[str] = set()
    for _ in range(6):
        pid = server.start("sweep", path, SLOW, log)
        time.sleep(rng.uniform(0, seconds / 2))
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) in (-signal.SIGKILL, 0)  # 0: it had come to its end
        check_file(path)
        with Store(path) as store:
            done = store.finished([cell.key for cell in SLOW])
            assert kept <= done and store.running() == {}  # nothing finished is lost; a dead process is at nothing
            kept = done
    assert server.wait(server.start("sweep", path, SLOW, log)) == 0
    pd.testing.assert_frame_equal(table(path), whole)
    assert max(Counter(log.read_text().split()).values()) == 1  # nothing stored was computed again


def test_killed_inside_a_write_nothing_of_it_is_read(
    tmp_path: Path, server: Server, uninterrupted: tuple[pd.DataFrame, float]
) -> None:
    path, log = tmp_path / "a", tmp_path / "log"
    pid = server.start("stuck", path, SLOW, log)
    server.hear("inside")
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL
    check_file(path)
    with Store(path) as store:
        assert store.finished([cell.key for cell in SLOW]) == set(log.read_text().split()) != set()
    assert server.wait(server.start("sweep", path, SLOW, log)) == 0
    pd.testing.assert_frame_equal(table(path), uninterrupted[0])


def test_what_was_told_as_stored_is_there_after_any_kill(tmp_path: Path, server: Server) -> None:
    """Commits one after another, killed at random: every acknowledged one is there, at most one more, in order."""
    path, rng = tmp_path / "a", random.Random(2)
    Store(path).close()
    many = [Cell(6, TransformerShape(2, 1, 2), number, settings=SHORT) for number in range(4000)]
    there = 0
    for _ in range(5):
        heard = len(server.said)
        pid = server.start("hammer", path, many[there:], tmp_path / "log")
        server.hear("kept")
        time.sleep(rng.uniform(0, 0.2))
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) == -signal.SIGKILL
        acknowledged = there + sum("kept" in said for said in server.said[heard:])
        check_file(path)
        with Store(path) as store:
            found = len(store.table())
            assert found in (acknowledged, acknowledged + 1)
            assert store.finished([cell.key for cell in many[:found]]) == {cell.key for cell in many[:found]}
        there = found


def test_two_processes_share_a_store(tmp_path: Path, server: Server, uninterrupted: tuple[pd.DataFrame, float]) -> None:
    path, logs = tmp_path / "a", [tmp_path / "one", tmp_path / "two"]
    pids = [server.start("sweep", path, SLOW, log) for log in logs]  # both make the store, too
    assert [server.wait(pid) for pid in pids] == [0, 0]
    check_file(path)
    pd.testing.assert_frame_equal(table(path), uninterrupted[0])
    shares = [log.read_text().split() for log in logs]
    assert Counter(shares[0] + shares[1]) == Counter(cell.key for cell in SLOW)  # each cell by one of them, once
    assert shares[0] and shares[1]


def test_ctrl_c_ends_a_run_within_two_seconds(tmp_path: Path, server: Server) -> None:
    """With cells that would take minutes, of one layer; the claims are given back."""
    long = TrainingSettings(batch_size=256, num_batches=64, epochs=6400)
    cells = [Cell(50, TransformerShape(13, 31, 13), number, settings=long) for number in range(5)]
    path = tmp_path / "a"
    pid = server.start("sweep", path, cells, tmp_path / "log")
    server.hear("done")
    time.sleep(0.5)
    start = time.monotonic()
    os.kill(pid, signal.SIGINT)
    assert server.wait(pid) == 130
    assert time.monotonic() - start < 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
