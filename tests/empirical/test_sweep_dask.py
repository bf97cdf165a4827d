"""Dask workers give the same table, also when one is killed; nothing of them stays behind."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from empirical import _sweep_dask
from empirical._sweep_cluster import local_workers
from empirical._sweep_worker import compute_chunk
from empirical.cells import Cell
from empirical.store import Store
from empirical.sweep import SweepState, run
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

distributed: Any = pytest.importorskip("distributed")

LONGER = TrainingSettings(batch_size=32, num_batches=16, epochs=32, accuracy_window=10)
SHAPES = [TransformerShape(d, heads, d) for d in (2, 3, 5) for heads in (1, 13)]
CELLS = [Cell(6, shape, number, variant, LONGER) for variant in ("notebook", "paper") for shape in SHAPES for number in range(2)]
KEYS = [cell.key for cell in CELLS]
NOT_DETERMINED = ["seconds", "date", "machine", "versions", "git_revision"]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with local_workers() as address:
        yield address


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of this process's own computing."""
    with Store(tmp_path_factory.mktemp("whole") / "a") as store:
        run(CELLS, store)
        return store.table().drop(columns=NOT_DETERMINED)


def test_a_killed_worker_changes_nothing(tmp_path: Path, scheduler: str, whole: pd.DataFrame) -> None:
    killed: list[int] = []
    with distributed.Client(scheduler, set_as_default=False) as client, Store(tmp_path / "a") as store:
        before = client.run(os.getpid)
        assert len(before) == 2 and os.getpid() not in before.values()

        def kill(state: SweepState) -> None:
            if state.done and not killed:
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                killed.extend(before[worker] for worker in busy[:1])
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

        state = run(CELLS, store, engine="dask", scheduler=scheduler, progress=kill)
        table = store.table()
        assert killed and not set(killed) & set(client.run(os.getpid).values())
    assert (state.done, state.failed, state.running) == (len(CELLS), 0, 0)
    pd.testing.assert_frame_equal(table.drop(columns=NOT_DETERMINED), whole)
    assert table["machine"].str.contains('"threads": 1').all() and (table["seconds"] > 0).all()


def test_a_lost_scheduler_loses_nothing_that_was_finished(tmp_path: Path, whole: pd.DataFrame) -> None:
    with local_workers() as address, distributed.Client(address, set_as_default=False) as client, Store(tmp_path / "a") as store:
        pid = client.run_on_scheduler(os.getpid)
        client.close()

        def kill(state: SweepState) -> None:
            if state.done:
                os.killpg(pid, signal.SIGKILL)

        with pytest.raises(ConnectionError, match="what was finished is stored, and the same command goes on") as caught:
            run(CELLS, store, engine="dask", scheduler=address, progress=kill)
        assert "\n" not in str(caught.value)
        assert store.running() == {} and 0 < len(store.finished(KEYS)) < len(KEYS)
        run(CELLS, store)
        pd.testing.assert_frame_equal(store.table().drop(columns=NOT_DETERMINED), whole)


def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers of its own, at cells that would take hours."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    long = TrainingSettings(batch_size=256, num_batches=64, epochs=64000)
    cells = [Cell(50, TransformerShape(10, 11, 10), number, settings=long) for number in range(12)]
    started = 0.0

    def interrupt(state: SweepState) -> None:
        nonlocal started
        if state.running and not started:
            assert _processes(tmp_path) and list(tmp_path.glob("headcount-dask-*"))
            started = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)

    with Store(tmp_path / "a") as store:
        with pytest.raises(KeyboardInterrupt):
            run(cells, store, engine="dask", progress=interrupt)
        assert time.monotonic() - started < 2
        assert store.running() == {} and store.table().empty
    assert not list(tmp_path.glob("headcount-dask-*"))
    deadline = time.monotonic() + 5  # killed, and looked after by the system
    while _processes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes(tmp_path) == []


def _processes(folder: Path) -> list[str]:
    """Command lines and environments that name the folder, this process's own apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def test_without_dask_it_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with Store(tmp_path / "a") as store, pytest.raises(ValueError, match=r"extra `sweep`.*headcount\[sweep\]"):
        run(CELLS, store, engine="dask")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:9", "no dask scheduler answers there"), ("nonsense://127.0.0.1:9", "no dask scheduler answers there"),
        ("nonsense", "must be an address with a port"), ("", "must be an address with a port"),
    ],
)  # fmt: skip
def test_a_scheduler_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setattr(_sweep_dask, "CONNECT_SECONDS", 0.5)
    with Store(tmp_path / "a") as store, pytest.raises(ValueError, match=words) as caught:
        run(CELLS, store, engine="dask", scheduler=address)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"scheduler = {address!r}")


class KilledWorker(Exception):
    """As dask raises it."""

    allowed_failures = 3


class FakeClient:
    """Workers that end with every chunk in which the bad cell is."""

    def __init__(self, bad: str, error: Exception) -> None:
        self.bad, self.error, self.scheduler, self.cancelled = bad, error, SimpleNamespace(address="fake"), 0

    def nthreads(self) -> dict[str, int]:
        return {"fake": 3}

    def submit(self, function: Any, specs: str, **options: Any) -> Any:
        assert function is compute_chunk
        if self.bad in [Cell.from_spec(spec).key for spec in _sweep_dask.json.loads(specs)]:
            return _future("error", self.error)
        return _future("finished", compute_chunk(specs))

    def cancel(self, futures: list[Any], force: bool) -> None:
        self.cancelled += len(futures)


def _future(status: str, what: Any) -> Any:
    class Future:
        def __init__(self) -> None:
            self.status = status

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return what

        def exception(self) -> Any:
            return what

    return Future()


def test_a_cell_that_ends_its_workers_fails_alone(tmp_path: Path, whole: pd.DataFrame) -> None:
    client = FakeClient(KEYS[4], KilledWorker())
    with Store(tmp_path / "a") as store:
        queue = _sweep_dask.Queue(CELLS, store, False)
        _sweep_dask.run_tasks(client, queue, _sweep_dask.Tally(queue, None))
        assert store.failed(KEYS) == {KEYS[4]: "KilledWorker: 4 workers ended while they computed it"}
        table = store.table().drop(columns=NOT_DETERMINED)
    same = table["key"] != KEYS[4]
    pd.testing.assert_frame_equal(table[same], whole[same], check_dtype=False)


def test_a_worker_of_another_version_ends_the_run(tmp_path: Path) -> None:
    client = FakeClient(KEYS[4], ValueError("spec: numerics = 1: this version computes numerics 2"))
    with Store(tmp_path / "a") as store:
        queue = _sweep_dask.Queue(CELLS, store, False)
        with pytest.raises(ValueError, match=r"numerics = 1.*workers need the same version"):
            _sweep_dask.run_tasks(client, queue, _sweep_dask.Tally(queue, None))
        assert store.failed(KEYS) == {}
