"""What is in a store comes back as it was put; what is wrong with one is said in a line that names it."""

import csv
import json
import math
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical import _origin, cells
from empirical.cells import Cell, CellResult
from empirical.store import Store, StoreError
from theory.shapes import TransformerShape

ROOT = Path(__file__).parents[2]
CELLS = [Cell(5, TransformerShape(2, heads, 3), repetition) for heads in (1, 2, 3) for repetition in (0, 1)]
DONE = [
    CellResult(
        cell, "done", 0.1 + number, 0.1 * number, number, 1 / 3, -1e-300, 7.25, 10 + number, None if number % 2 else 9,
        seconds=0.5,
    )
    for number, cell in enumerate(CELLS)
]
FAILED = CellResult(CELLS[0], "failed", reason="MemoryError")
DIVERGED = CellResult(CELLS[1], "done", diverged=True, reason="loss not finite in epoch 1 of 2", nominal_parameters=4)
KEYS = [cell.key for cell in CELLS]


def same(one: CellResult, other: CellResult) -> bool:
    """Equality with NaN equal to NaN."""
    return one.cell == other.cell and repr(asdict(replace(one, cell=CELLS[0]))) == repr(asdict(replace(other, cell=CELLS[0])))


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)


def one_line(error: BaseException, path: Path) -> str:
    text = str(error)
    assert "\n" not in text and text.startswith(f"{path}: ") and ";" in text, text
    return text


def test_results_come_back_as_they_were_put(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        assert store.put([*DONE[2:], FAILED, DIVERGED]) == []
    with Store(path) as store:
        assert store.finished([*KEYS, "0" * 64]) == set(KEYS[1:])
        assert store.failed(KEYS) == {KEYS[0]: "MemoryError"}
        assert store.states(KEYS[:2]) == {KEYS[0]: "failed", KEYS[1]: "done"}
        back = store.results([*reversed(CELLS), Cell(6, TransformerShape(2, 1, 3))])
    assert all(same(one, other) for one, other in zip(back, [*reversed(DONE[2:]), DIVERGED, FAILED], strict=True))
    assert [file.name for file in tmp_path.iterdir()] == ["a.sqlite"]  # the log is folded in when the last one closes


@given(
    numbers=st.lists(st.floats(), min_size=6, max_size=6),
    counts=st.lists(st.none() | st.integers(0, 2**62), min_size=3, max_size=3),
    reason=st.text(st.characters(exclude_categories=["Cs"])), seed=st.integers(0, 2**80),
)  # fmt: skip
def test_every_number_comes_back_bit_for_bit(numbers: list[float], counts: list[int | None], reason: str, seed: int) -> None:
    """Infinite, denormal and missing ones too; only the sign of zero is not kept."""
    names = ("draw_accuracy", "accuracy", "memory", "margin_min", "final_loss", "seconds")
    whole = dict(zip(("held", "nominal_parameters", "effective_parameters"), counts, strict=True))
    cell = Cell(5, TransformerShape(1, 0, 1), seed=seed)
    put = CellResult(cell, "done", **dict(zip(names, numbers, strict=True)), **whole, reason=reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("empirical.store.opened", _memory_store)
        with Store("none") as store:
            store.put([put])
            (back,) = store.results([put.cell])
            table = store.table()
    for name in names:
        one, other = getattr(put, name), getattr(back, name)
        assert one == other or (math.isnan(one) and math.isnan(other))
        assert table[name][0] == other or (math.isnan(other) and pd.isna(table[name][0]))
    assert [getattr(back, name) for name in whole] == counts and back.reason == reason
    assert table["seed"][0] == seed


def _memory_store(path: Path, *, create: bool) -> sqlite3.Connection:
    from empirical._store_file import SCHEMA, connected

    connection = connected(Path(":memory:"))
    for statement in SCHEMA:
        connection.execute(statement)
    return connection


def test_the_first_finished_result_stays_and_a_failure_gives_way(tmp_path: Path) -> None:
    other = replace(DONE[0], held=99)
    with Store(tmp_path / "a") as store:
        store.put([FAILED])
        store.put([replace(FAILED, reason="another")])
        assert store.failed(KEYS) == {KEYS[0]: "another"}
        assert store.put([DONE[0]]) == []
        assert store.put([replace(DONE[0], seconds=9.0)]) == []  # the same numbers, slower
        assert store.put([FAILED]) == []
        assert store.put([other, DONE[1]]) == [KEYS[0]]
        assert store.results(CELLS[:1]) == DONE[:1]
        assert store.finished(KEYS) == set(KEYS[:2])
    with Store(tmp_path / "b") as store:
        assert store.put([DONE[0], other]) == [KEYS[0]]  # within one call too
        assert store.results(CELLS[:1]) == DONE[:1]


def test_the_table_is_tidy(tmp_path: Path) -> None:
    with Store(tmp_path / "a") as store:
        empty = store.table()
        store.put([FAILED, *DONE[1:]])
        table = store.table()
    assert empty.empty and list(empty.columns) == list(table.columns) and list(empty.dtypes) == list(table.dtypes)
    assert set(CELLS[0].spec) <= set(table.columns) and len(table) == len(CELLS) and table["key"].is_monotonic_increasing
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert kinds["embed_dim"] == kinds["num_heads"] == "int64" and kinds["accuracy"] == kinds["settings.epsilon"] == "float64"
    assert kinds["held"] == kinds["effective_parameters"] == "Int64" and kinds["diverged"] == "bool"
    assert kinds["date"] == "datetime64[us, UTC]"
    row = table.set_index("key").loc[KEYS[2]]
    assert (row["held"], row["num_heads"], row["settings.betas"], row["state"]) == (2, 2, "[0.9, 0.999]", "done")
    assert set(json.loads(row["versions"])) == {"python", "torch", "numpy", "headcount"}
    assert {"platform", "processor", "threads"} <= set(json.loads(row["machine"]))
    assert abs((pd.Timestamp.now("UTC") - row["date"]).total_seconds()) < 600


def test_rows_of_earlier_numerics_are_shown_but_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "a") as store:
        store.put(DONE)
        monkeypatch.setattr(cells, "NUMERICS", cells.NUMERICS + 1)
        assert store.finished([cell.key for cell in CELLS]) == set() and store.results(CELLS) == []
        store.put(DONE[:1])
        assert sorted(store.table()["numerics"]) == [1] * len(DONE) + [2]


def test_a_specification_with_other_names_has_its_own_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an earlier or later version may write them."""
    before = Cell.spec.fget
    assert before is not None
    with Store(tmp_path / "a") as store:
        store.put(DONE[1:])
        monkeypatch.setattr(Cell, "spec", property(lambda cell: {**before(cell), "settings.decay": 0.5, "settings.rounds": 3}))
        store.put(DONE[:1])
        monkeypatch.undo()
        table = store.table()
    assert table["settings.decay"].dropna().tolist() == [0.5] and table["settings.rounds"].dropna().tolist() == [3]
    assert str(table["settings.rounds"].dtype) == "Int64"


def test_exports_hold_the_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with Store(tmp_path / "a") as store:
        store.put([FAILED, *DONE[1:]])
        table = store.table()
        store.export_csv(tmp_path / "a.csv")
        store.export_parquet(tmp_path / "a.parquet")
        for wrong in (tmp_path / "a", tmp_path / "a-wal"):
            with pytest.raises(ValueError, match="is the store itself"):
                store.export_csv(wrong)
        with pytest.raises(ValueError, match="no ordinary file"):
            store.export_csv(tmp_path)
        with pytest.raises(OSError):
            store.export_csv(tmp_path / "nowhere" / "a.csv")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table)
    with (tmp_path / "a.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    for name in ("accuracy", "memory", "margin_min", "settings.learning_rate", "held", "seed"):
        read = [float(line[name] or "nan") for line in back]
        np.testing.assert_array_equal(read, table[name].to_numpy(float, na_value=np.nan))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "a.csv", "a.parquet"]


def test_without_pyarrow_parquet_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with Store(tmp_path / "a") as store, pytest.raises(ValueError, match=r"extra `parquet`.*headcount\[parquet\]"):
        store.export_parquet(tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_absorbing_takes_what_is_new_and_tells_contradictions(tmp_path: Path) -> None:
    with Store(tmp_path / "b") as other:
        other.put([replace(DONE[0], held=99), DONE[1], DONE[2]], _origin.Origin("{}", "cafe", "elsewhere"))
    with Store(tmp_path / "a") as store:
        store.put([DONE[0], replace(FAILED, cell=CELLS[1])])
        assert store.absorb(tmp_path / "b") == [KEYS[0]]
        assert store.results(CELLS) == DONE[:3]
        assert sorted(store.table()["git_revision"] == "cafe") == [False, True, True]  # where it was computed, not where it is
        with pytest.raises(StoreError, match="there is no store"):
            store.absorb(tmp_path / "c")


# What is wrong with a file.


def test_a_missing_store_is_made_only_where_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        Store(tmp_path / "a", create=False)
    with pytest.raises(StoreError, match=r"its folder .* is not there"):
        Store(tmp_path / "nowhere" / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"x", b"key,spec\n" * 500, b"SQLite format 3\x00", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_store_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert any(words in one_line(caught.value, path) for words in ("not an SQLite file", "is damaged"))
    assert path.read_bytes() == content and [file.name for file in tmp_path.iterdir()] == ["a"]


def test_folders_and_devices_are_refused(tmp_path: Path) -> None:
    for place, words in ((tmp_path, "is a folder"), (Path("/dev/null"), "no ordinary file")):
        with pytest.raises(StoreError, match=words) as caught:
            Store(place)
        one_line(caught.value, place)


def test_another_programs_database_and_another_format_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE cells (key TEXT)")
        connection.commit()
    Store(tmp_path / "newer").close()
    with closing(sqlite3.connect(tmp_path / "newer")) as connection:
        connection.execute("PRAGMA user_version = 7")
    for name, words in (("other", "of another program"), ("newer", "a newer version of headcount .format 7")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(StoreError, match=words) as caught:
            Store(tmp_path / name)
        one_line(caught.value, tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a store of some fifty pages, without what SQLite leaves of earlier versions of a page."""
    path = tmp_path_factory.mktemp("large") / "a"
    many = [CellResult(Cell(5, TransformerShape(2, 1, 3), number), "done", 0.5, held=number) for number in range(120)]
    with Store(path) as store:
        store.put(many)
        store._connection.execute("VACUUM")
    return path.read_bytes()


def test_a_truncated_store_is_refused(tmp_path: Path, large: bytes) -> None:
    path = tmp_path / "a"
    for length in (1, 50, 101, 4000, 4096, 5000, len(large) // 2, len(large) - 4096, len(large) - 1):
        path.write_bytes(large[:length])
        with pytest.raises(StoreError) as caught:
            Store(path)
        one_line(caught.value, path)


def test_no_byte_can_be_changed_unnoticed(tmp_path: Path, large: bytes) -> None:
    """A flipped byte of a row is an error that names the file; any other is that, or nothing that is read hangs on it."""
    path, rng = tmp_path / "a", np.random.default_rng(0)
    path.write_bytes(large)
    with Store(path) as store:
        whole = store.table()
    rows = [found.start() for found in re.finditer(rb'[0-9a-f]{64}\{"device"', large)]  # key and specification
    assert len(rows) == 120
    inside = [int(rng.choice(rows)) + int(rng.integers(64 + len(CELLS[0].text))) for _ in range(40)]
    for place in [*inside, len(large) // 2, *range(0, 100, 7), *rng.integers(100, len(large), 60).tolist()]:
        changed = bytearray(large)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(changed))
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        try:
            with Store(path) as store:
                pd.testing.assert_frame_equal(store.table(), whole)
            assert place not in inside
        except StoreError as error:
            one_line(error, path)


def test_a_changed_number_is_told_with_its_cell(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Store(path) as store:
        store.put(DONE)
        store._connection.execute("UPDATE cells SET held = 25 WHERE key = ?", (KEYS[3],))
        for read in (store.table, lambda: store.results(CELLS), lambda: store.finished(KEYS), lambda: store.put(DONE)):
            with pytest.raises(StoreError, match=f"row of cell {KEYS[3]} is not what was written"):
                read()
        assert len(store.finished(KEYS[:3])) == 3
    with pytest.raises(StoreError, match=KEYS[3]):
        Store(path)


def test_a_full_disk_has_a_name_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    many = [replace(DONE[0], cell=replace(CELLS[0], repetition=number)) for number in range(10, 300)]
    with Store(path) as store:
        store.put(DONE)
        store._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(StoreError, match="the disk is full") as caught:
            store.put(many)
        one_line(caught.value, path)
        assert store.finished(KEYS) == set(KEYS) and store.finished([result.cell.key for result in many]) == set()
        store._connection.execute("PRAGMA max_page_count = 100000")
        store.put(many)
    with Store(path) as store:
        assert len(store.table()) == len(many) + len(DONE)


DISK = """
import resource, sys
from test_store import CELLS, DONE, replace, Store
with Store(sys.argv[1]) as store:
    store.put(DONE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        store.put([replace(DONE[0], cell=replace(CELLS[0], repetition=number)) for number in range(10, 300)])
    except ValueError as error:
        print(error)
"""


def test_a_disk_that_does_not_write_has_a_name(tmp_path: Path) -> None:
    """A write that the system refuses in the middle of a transaction."""
    assert resource.RLIM_INFINITY in resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a"
    ended = python(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + DISK, path)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    assert ended.stdout.startswith(f"{path}: the disk ") and ended.stdout.count("\n") == 1
    with Store(path) as store:
        assert store.finished(KEYS) == set(KEYS) and len(store.table()) == len(DONE)


POWERLESS = """
import os, sys
from empirical.store import Store
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
for path in sys.argv[1:]:
    try:
        Store(path)
    except ValueError as error:
        print(error)
"""


def test_no_permission_is_told() -> None:
    """A file that may not be written, a folder that nothing may be made in, a file that may not be read."""
    with tempfile.TemporaryDirectory() as home:  # pytest's own folders are closed to other users
        paths = []
        for number, (folder, file) in enumerate([(0o755, 0o444), (0o555, None), (0o755, 0o000)]):
            paths.append(Path(home) / f"{number}" / "a")
            paths[-1].parent.mkdir()
            if file is not None:
                Store(paths[-1]).close()
                paths[-1].chmod(file)
            paths[-1].parent.chmod(folder)
        Path(home).chmod(0o755)
        ended = python(POWERLESS, *paths)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 3
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"{path}: cannot be ") and "give yourself the right" in line


def test_a_lock_held_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("empirical._store_file.BUSY_SECONDS", 0.2)
    path = tmp_path / "a"
    with Store(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="kept it locked") as caught:
            store.put(DONE)
        one_line(caught.value, path)
        other.execute("ROLLBACK")
        store.put(DONE)
