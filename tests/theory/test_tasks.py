"""Tasks: what is accepted, what is refused and in which words, and that nothing can change a task afterwards."""

import copy
import dataclasses
import os
import pickle
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theory import AssociationTask, AttentionShape, TaskFileError
from theory.strategies import association_tasks

some_examples = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


# Shapes


def test_shape_rank_is_capped_by_the_embedding() -> None:
    assert AttentionShape(embed_dim=2, num_heads=0, head_dim=5).rank == 2
    assert AttentionShape(embed_dim=5, num_heads=3, head_dim=2).rank == 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1), r"embed_dim = 0: must be an integer >= 1"),
        ((2, -1, 1), r"num_heads = -1: must be an integer >= 0"),
        ((2, 1, 0), r"head_dim = 0: must be an integer >= 1"),
        ((True, 1, 1), r"embed_dim = True"),
    ],
)
def test_shape_refuses(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionShape(*sizes)


def test_shape_refuses_floats() -> None:
    with pytest.raises((ValueError, TypeError)):
        AttentionShape(2.0, 1, 1)  # type: ignore[arg-type]


# Construction


def test_properties_on_an_example() -> None:
    task = AssociationTask([[0, 1, 3], [2, 2, 3], [0, 0, 1]], [3, 3, 0], 5)
    assert (task.num_associations, task.seq_len, task.num_last_tokens, task.vocab_size) == (3, 3, 2, 5)
    assert task.sequences.dtype == task.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("sequences", "targets", "vocab_size", "message"),
    [
        ([[0, 1]], [0], 1, "vocab_size = 1: must be an integer >= 2"),
        ([[0, 1]], [0], 2**40, "vocab_size = 1099511627776: must be at most"),
        ([[0, 1], [0]], [0, 0], 2, "rows of equal length"),
        ([0, 1], [0, 0], 2, "2-dimensional"),
        ([[0.0, 1.0]], [0], 2, "float64"),
        ([[True, False]], [0], 2, "bool"),
        ([[float("nan"), 1]], [0], 2, "float64"),
        ([[10**30, 1]], [0], 2, "64 bits"),
        ([[2**63]], [0], 2, r"sequences\[0\] = \[9223372036854775808\]: must lie between 0 and"),
        ([[0, 1], [1, -1]], [0, 0], 2, r"sequences\[1\] = \[1, -1\]: must lie between 0 and vocab_size - 1 = 1"),
        ([[0, 1]], [2], 2, r"targets\[0\] = 2"),
        ([[0, 1]], [-1], 2, r"targets\[0\] = -1"),
        ([[0, 1]], [0, 1], 2, "targets has 2 entries: must have one per sequence, that is 1"),
        ([[0, 1]], [[0]], 2, "1-dimensional"),
        ([[]], [0], 2, "sequences"),
        (np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64), 2, "T0 >= 1"),
        (np.zeros((1, 0), dtype=np.int64), np.zeros(1, dtype=np.int64), 2, "S >= 1"),
        ([[0, 1], [1, 1], [0, 1], [1, 1]], [0, 0, 1, 1], 2, r"sequences\[2\] = \[0, 1\].*repeats sequences\[0\]"),
    ],
)
def test_refused_at_the_door(sequences: npt.ArrayLike, targets: npt.ArrayLike, vocab_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as failure:
        AssociationTask(sequences, targets, vocab_size)
    assert "\n" not in str(failure.value)


@some_examples
@given(task=association_tasks(), data=st.data())
def test_any_repeated_sequence_is_refused_with_both_rows(task: AssociationTask, data: st.DataObject) -> None:
    earlier = data.draw(st.integers(0, task.num_associations - 1))
    sequences = np.concatenate([task.sequences, task.sequences[[earlier]]])
    with pytest.raises(ValueError, match=rf"sequences\[{task.num_associations}\].*repeats sequences\[{earlier}\]$"):
        AssociationTask(sequences, np.append(task.targets, 0), task.vocab_size)


def test_repeats_are_found_in_long_sequences_too() -> None:
    rows = np.random.default_rng(0).integers(0, 1000, size=(50, 40))
    rows[31] = rows[7]
    with pytest.raises(ValueError, match=r"sequences\[31\].*repeats sequences\[7\]"):
        AssociationTask(rows, np.zeros(50, dtype=np.int64), 1000)


def test_long_sequences_that_differ_early_are_distinct() -> None:
    # Read as numbers in base 2 these differ by 2**69, which 64 bits do not hold.
    assert AssociationTask([[0] * 70, [1] + [0] * 69], [0, 1], 2).num_associations == 2


# Frozen


@some_examples
@given(association_tasks())
def test_nothing_can_be_changed(task: AssociationTask) -> None:
    for clone in (task, copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert clone == task
        for array in (clone.sequences, clone.targets):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.vocab_size = 99  # type: ignore[misc]


def test_the_callers_arrays_are_copied() -> None:
    sequences, targets = np.array([[0, 1], [1, 0]]), np.array([0, 1])
    task = AssociationTask(sequences, targets, 2)
    before = task.fingerprint()
    sequences[0, 0] = targets[0] = 1
    assert task.fingerprint() == before
    assert task.sequences[0, 0] == 0 and task.targets[0] == 0


# Equality


@some_examples
@given(association_tasks(), association_tasks())
def test_equality_hash_and_fingerprint_agree(one: AssociationTask, two: AssociationTask) -> None:
    same = (one.sequences.tolist(), one.targets.tolist(), one.vocab_size) == (
        two.sequences.tolist(),
        two.targets.tolist(),
        two.vocab_size,
    )
    assert (one == two) == same == (one.fingerprint() == two.fingerprint())
    assert not same or hash(one) == hash(two)


def test_equality_sees_content_only() -> None:
    task = AssociationTask([[0, 1], [1, 0]], [0, 1], 2)
    assert task == AssociationTask(task.sequences, task.targets, 2, "another description")
    assert task != AssociationTask([[0, 1], [1, 0]], [0, 1], 3)
    assert task != AssociationTask([[0, 1], [1, 0]], [1, 1], 2)
    assert task != AssociationTask([[1, 0], [0, 1]], [1, 0], 2)
    assert task != "task"
    assert AssociationTask([[0, 1]], [1], 2) != AssociationTask([[0], [1]], [1, 0], 2)


def test_fingerprint_is_the_same_everywhere() -> None:
    fingerprint = AssociationTask([[0, 1], [1, 0]], [0, 1], 2).fingerprint()
    assert fingerprint == "c21f6e00d9471340835306a083ac721ba66583dc742586b77e67f8f9041aca9c"
    assert (
        AssociationTask(np.array([[0, 1], [1, 0]], dtype=np.uint8), np.array([0, 1], dtype=">i4"), 2).fingerprint()
        == fingerprint
    )


@some_examples
@given(association_tasks())
def test_repr_of_small_tasks_evaluates_to_the_task(task: AssociationTask) -> None:
    if task.sequences.size <= 64:
        assert eval(repr(task)) == task
    assert len(repr(task)) < 3000


# Subsets


@some_examples
@given(task=association_tasks(), data=st.data())
def test_subset(task: AssociationTask, data: st.DataObject) -> None:
    rows = st.lists(st.integers(0, task.num_associations - 1), min_size=1, unique=True)
    indices = data.draw(rows)
    part = task.subset(indices)
    assert part.sequences.tolist() == [task.sequences[i].tolist() for i in indices]
    assert part.targets.tolist() == [int(task.targets[i]) for i in indices]
    assert part.vocab_size == task.vocab_size
    assert part == task.subset(np.array(indices))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "indices is empty"),
        ([0, 3], r"indices\[1\] = 3: must lie between 0 and 2"),
        ([-1], r"indices\[0\] = -1"),
        ([0, 1, 0], r"indices\[2\] = 0: must not repeat indices\[0\]"),
        ([True, False, True], "bool"),
    ],
)
def test_subset_refuses(indices: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssociationTask([[0], [1], [2]], [0, 1, 2], 3).subset(indices)


# Complete and random


@pytest.mark.parametrize(("vocab_size", "seq_len"), [(2, 1), (2, 5), (3, 2), (10, 2), (7, 3)])
def test_complete_is_every_sequence_in_lexicographic_order(vocab_size: int, seq_len: int) -> None:
    task = AssociationTask.complete(vocab_size, seq_len, seed=3)
    rows = task.sequences.tolist()
    assert len(rows) == vocab_size**seq_len == len({tuple(row) for row in rows})
    assert rows == sorted(rows)
    assert task.num_last_tokens == vocab_size
    assert task == AssociationTask.complete(vocab_size, seq_len, seed=3)


def test_seeds_matter_and_targets_are_spread() -> None:
    one, two = AssociationTask.complete(10, 2, seed=0), AssociationTask.complete(10, 2, seed=1)
    assert one != two
    counts = np.bincount(AssociationTask.complete(100, 2, seed=0).targets, minlength=100)
    assert counts.min() > 50 and counts.max() < 150  # 100 expected, standard deviation 10


@pytest.mark.parametrize(("vocab_size", "seq_len"), [(10**6, 10), (2, 10**9), (2**31, 1), (12000, 2), (2, 28)])
def test_complete_refuses_what_would_not_fit_before_allocating(vocab_size: int, seq_len: int) -> None:
    start = time.perf_counter()
    with pytest.raises(ValueError, match=rf"vocab_size = {vocab_size}, seq_len = {seq_len}: .* 2 GiB"):
        AssociationTask.complete(vocab_size, seq_len, 0)
    assert time.perf_counter() - start < 0.5


def test_random_refuses_what_would_not_fit_or_does_not_exist() -> None:
    with pytest.raises(ValueError, match="2 GiB"):
        AssociationTask.random(1000, 3, 10**9, 0)
    with pytest.raises(ValueError, match=r"num_associations = 9: must be at most vocab_size\^seq_len = 8"):
        AssociationTask.random(2, 3, 9, 0)
    with pytest.raises(ValueError, match="num_associations = 0"):
        AssociationTask.random(2, 3, 0, 0)
    with pytest.raises(ValueError, match="seed = -1"):
        AssociationTask.random(2, 3, 1, -1)


@some_examples
@given(st.integers(2, 6), st.integers(1, 4), st.data(), st.integers(0, 100))
def test_random_is_distinct_and_deterministic(vocab_size: int, seq_len: int, data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(1, vocab_size**seq_len))
    task = AssociationTask.random(vocab_size, seq_len, count, seed)
    assert task.num_associations == count
    assert task == AssociationTask.random(vocab_size, seq_len, count, seed)


def test_random_reaches_all_sequences_and_astronomically_many() -> None:
    full = AssociationTask.random(3, 4, 81, 5)
    assert sorted(full.sequences.tolist()) == AssociationTask.complete(3, 4, 0).sequences.tolist()
    huge = AssociationTask.random(10**6, 100, 1000, 5)
    assert (huge.num_associations, huge.seq_len) == (1000, 100)


@pytest.mark.parametrize("count", [2, 7])  # drawn with repeats dropped, and cut from a permutation
def test_random_sequences_are_uniform(count: int) -> None:
    seen = np.zeros(9)
    for seed in range(900):
        for row in AssociationTask.random(3, 2, count, seed).sequences:
            seen[3 * row[0] + row[1]] += 1
    expected = 900 * count / 9
    assert np.abs(seen - expected).max() < 5 * np.sqrt(900 * count / 9 * (1 - count / 9))


# Files


@some_examples
@given(task=association_tasks())
def test_csv_round_trip(tmp_path: Path, task: AssociationTask) -> None:
    path = tmp_path / "task.csv"
    task.to_csv(path)
    assert AssociationTask.from_csv(path, task.vocab_size) == task
    inferred = AssociationTask.from_csv(path)
    largest = max(int(task.sequences.max()), int(task.targets.max()))
    assert inferred.vocab_size == max(2, largest + 1)
    assert f"vocabulary size {inferred.vocab_size} inferred" in inferred.description
    assert [file.name for file in tmp_path.iterdir()] == ["task.csv"]


HEADER = "token_1,token_2,target\n"


def test_csv_looks_as_documented(tmp_path: Path) -> None:
    AssociationTask([[0, 1], [1, 0]], [1, 0], 2).to_csv(tmp_path / "task.csv")
    assert (tmp_path / "task.csv").read_bytes() == b"token_1,token_2,target\n0,1,1\n1,0,0\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "0,1,1\n1,0,0\n",
        (HEADER + "0,1,1\n1,0,0\n").replace("\n", "\r\n"),
        HEADER + "\n 0, 1 ,1\n\n1,00,0\n\n",
        'token_1, token_2, target\n"0","1",1\n1,0,0\n',
    ],
)
def test_csv_from_elsewhere_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "task.csv").write_text(text, encoding="utf-8", newline="")
    assert AssociationTask.from_csv(str(tmp_path / "task.csv")) == AssociationTask([[0, 1], [1, 0]], [1, 0], 2)


BAD_FILES = {
    "empty": ("", "is empty"),
    "blank": ("\n", "is empty"),
    "header only": (HEADER, "no associations"),
    "no header": ("0,1,1\n", "line 1: the header must be token_1,..,token_S,target, not '0,1,1'"),
    "header in wrong order": ("token_2,token_1,target\n0,1,1\n", "line 1: the header must be"),
    "target only": ("target\n1\n", "line 1: the header must be"),
    "ragged": (HEADER + "0,1,1\n0,1\n", "line 3: has 2 entries, must have 3"),
    "long row": (HEADER + "0,1,1,1\n", "line 2: has 4 entries, must have 3"),
    "NaN": (HEADER + "0,NaN,1\n", "line 2: entry 'NaN' must be a non-negative integer"),
    "missing entry": (HEADER + "0,,1\n", "line 2: entry '' must be"),
    "negative": (HEADER + "0,1,1\n\n0,-1,1\n", "line 4: entry '-1' must be"),
    "float": (HEADER + "0,1.0,1\n", "line 2: entry '1.0' must be"),
    "exponent": (HEADER + "0,1e3,1\n", "line 2: entry '1e3' must be"),
    "underscore": (HEADER + "0,1_0,1\n", "line 2: entry '1_0' must be"),
    "other digits": (HEADER + "0,\u0663,1\n", "line 2: entry"),
    "huge": (HEADER + "0,99999999999999999999,1\n", "line 2: entry '99999999999999999999' must be below 2147483648"),
    "thousands of digits": (HEADER + f"0,{'9' * 9999},1\n", "line 2: entry '9999.* must be below"),
    "same row": (HEADER + "0,1,1\n1,1,0\n0,1,1\n", "line 4: sequence 0,1 repeats line 2, with the same target"),
    "two targets": (HEADER + "0,1,1\n\n0,1,0\n", "line 4: sequence 0,1 repeats line 2, with target 0 instead of 1"),
    "open quote": (HEADER + '0,"1,1\n', "line 2: is not valid CSV"),
    "zero bytes": (HEADER + "0,\0,1\n", "line 2"),
    "enormous field": (HEADER + "0" * 200_000 + ",0,0\n", "line 2: is not valid CSV"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    text, message = BAD_FILES[kind]
    path = tmp_path / "task.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaskFileError, match=message) as failure:
        AssociationTask.from_csv(path)
    assert str(failure.value).startswith(str(path))
    assert "\n" not in str(failure.value) and len(str(failure.value)) < len(str(path)) + 200


def test_entries_beyond_a_given_vocabulary_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.csv"
    for row in ("0,3,1", "0,1,3"):
        path.write_text(f"{HEADER}0,0,0\n\n{row}\n")
        with pytest.raises(TaskFileError, match=r"line 4: entry 3 must be at most 2 \(vocabulary size 3\)"):
            AssociationTask.from_csv(path, vocab_size=3)
        assert AssociationTask.from_csv(path, vocab_size=4).vocab_size == 4
    with pytest.raises(ValueError, match="vocab_size = 1"):
        AssociationTask.from_csv(path, vocab_size=1)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "late").write_bytes(HEADER.encode() + b"0,1,1\n" * 5000 + b"\xff\xfe")
    for name, message in [("garbage", "UTF-8"), ("late", "UTF-8"), ("missing", "No such file"), (".", "directory")]:
        with pytest.raises(TaskFileError, match=message):
            AssociationTask.from_csv(tmp_path / name)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: HEADER.encode() + tail))
def test_no_file_raises_anything_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "task.csv"
    path.write_bytes(content)
    try:
        AssociationTask.from_csv(path)
    except TaskFileError as error:
        assert "\n" not in str(error)


def test_writing_replaces_a_file_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, path = AssociationTask([[0, 1]], [1], 2), tmp_path / "task.csv"
    path.write_text("precious")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full_disk)
        with pytest.raises(TaskFileError, match=r"task\.csv: cannot be written \(No space left on device\)"):
            task.to_csv(path)
    assert path.read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == ["task.csv"]
    task.to_csv(path)
    assert AssociationTask.from_csv(path) == task


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    task = AssociationTask([[0, 1]], [1], 2)
    for path in (tmp_path, tmp_path / "no" / "such" / "folder.csv"):
        with pytest.raises(TaskFileError, match="cannot be written"):
            task.to_csv(path)
    assert list(tmp_path.iterdir()) == []


def test_pipes_are_refused_and_links_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "to_pipe"):
        with pytest.raises(TaskFileError, match=f"/{name}: is no ordinary file"):
            AssociationTask.from_csv(tmp_path / name)
    AssociationTask([[0, 1]], [1], 2).to_csv(tmp_path / "task.csv")
    (tmp_path / "to_task").symlink_to(tmp_path / "task.csv")
    assert AssociationTask.from_csv(tmp_path / "to_task").num_associations == 1
