"""Claims: a cell is one process's at a time, and no dead one's. Origins: which code computed a result."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from empirical import _claims, _origin
from empirical.cells import Cell, CellResult
from empirical.store import Store
from theory.shapes import TransformerShape

ROOT = Path(__file__).parents[2]
CELLS = [Cell(5, TransformerShape(2, heads, 3), repetition) for heads in (1, 2, 3) for repetition in (0, 1)]
DONE = [CellResult(cell, "done", held=number) for number, cell in enumerate(CELLS)]
FAILED = CellResult(CELLS[0], "failed", reason="MemoryError")
KEYS = [cell.key for cell in CELLS]


def test_a_cell_is_claimed_once(tmp_path: Path) -> None:
    with Store(tmp_path / "a") as one, Store(tmp_path / "a") as two:
        one.put([DONE[0], replace(FAILED, cell=CELLS[1])])
        assert one.claim(KEYS[:4]) == set(KEYS[2:4])
        assert two.claim(KEYS) == set(KEYS[4:])
        assert two.claim(KEYS, retry_failed=True) == {KEYS[1]}
        assert two.running() == one.running() and set(one.running()) == set(KEYS[1:])
        assert set(one.running(KEYS[:2])) == {KEYS[1]} and len(set(one.running().values())) == 2
        one.put(DONE[2:3])
        assert set(two.running()) == set(KEYS) - {KEYS[0], KEYS[2]}
        one.release()
        assert two.claim(KEYS) == {KEYS[3]}


def test_a_silent_owner_loses_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "a") as one, Store(tmp_path / "a") as two:
        one.claim(KEYS)
        now = time.time()
        monkeypatch.setattr(_claims.time, "time", lambda: now + _claims.EXPIRY_SECONDS - 5)
        assert two.claim(KEYS) == set()
        for later in (_claims.EXPIRY_SECONDS + 5, -3600):  # and a clock put back makes nobody immortal
            monkeypatch.setattr(_claims.time, "time", lambda later=later: now + later)
            assert two.running() == {}
        assert two.claim(KEYS) == set(KEYS)


def test_a_heartbeat_keeps_claims_and_the_end_gives_them_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_claims, "HEARTBEAT_SECONDS", 0.02)
    with Store(tmp_path / "a") as one, Store(tmp_path / "a") as two:
        with pytest.raises(RuntimeError), one.keep_claims():
            one.claim(KEYS)
            one._connection.execute("UPDATE claims SET heartbeat = 0")
            deadline = time.monotonic() + 10
            while not two.running() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert set(two.running()) == set(KEYS)
            raise RuntimeError
        assert two.claim(KEYS) == set(KEYS)


def test_a_dead_process_has_no_claims_but_one_of_another_host_may_live(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    while _claims._may_be_alive(f"{_claims._host()}:{zombie.pid}:x"):  # not waited for: still in the table of processes
        time.sleep(0.01)
    here = _claims._host()
    with Store(tmp_path / "a") as store:
        for key, owner in zip(KEYS, (f"{here}:{gone.pid}:x", f"far:{gone.pid}:x", f"{here}:{os.getpid()}:x", "?"), strict=False):
            store._connection.execute("INSERT INTO claims VALUES (?, ?, ?)", (key, owner, time.time()))
        assert set(store.running()) == set(KEYS[1:4])
        assert store.claim(KEYS) == {KEYS[0], *KEYS[4:]}
    zombie.wait()


# Where a result comes from.


def test_the_git_revision_is_that_of_this_checkout_and_missing_git_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    command = ["git", "-C", ROOT, "ls-files", "--error-unmatch", "empirical/cells.py"]
    tracked = subprocess.run(command, capture_output=True, check=False)
    _origin._git_revision.cache_clear()
    found = _origin._git_revision()
    assert found.removesuffix("-dirty") == (head.stdout.strip() if tracked.returncode == 0 else "")
    monkeypatch.setenv("PATH", "")
    assert _origin._git_revision() == found  # once in a process
    _origin._git_revision.cache_clear()
    assert _origin._git_revision() == ""
    _origin._git_revision.cache_clear()


def test_code_inside_a_strangers_checkout_is_not_of_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "cells.py").touch()
    monkeypatch.setattr(_origin, "__file__", str(tmp_path / "_origin.py"))
    _origin._git_revision.cache_clear()
    assert _origin._git_revision() == ""
    subprocess.run(["git", "-C", tmp_path, "add", "cells.py"], check=True)
    _origin._git_revision.cache_clear()
    assert len(_origin._git_revision()) == 46 and _origin._git_revision().endswith("-dirty")
    _origin._git_revision.cache_clear()
