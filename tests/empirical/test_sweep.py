"""Sweeps come to the same table however often they are killed, interrupted, shared or broken by single cells."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from empirical import _sweep_plan, sweep, training
from empirical.capacity import measure
from empirical.cells import Cell
from empirical.store import Store, StoreError
from empirical.sweep import SweepState, compute, run
from empirical.training import TrainingSettings, train
from theory.shapes import AttentionShape, TransformerShape

ROOT = Path(__file__).parents[2]
SHORT = TrainingSettings(batch_size=32, num_batches=4, epochs=6, accuracy_window=10)
SHAPES = [TransformerShape(d, heads, d) for d in (2, 3, 5) for heads in (0, 1, 13)]
CELLS = [Cell(6, shape, number, settings=SHORT) for shape in SHAPES for number in range(3)]
OTHER = [Cell(7, TransformerShape(3, 2, 1), number, "paper", SHORT, seed=4) for number in range(2)]
NOT_DETERMINED = ["seconds", "date", "machine", "versions", "git_revision"]


def table(path: Path) -> pd.DataFrame:
    with Store(path) as store:
        return store.table().drop(columns=NOT_DETERMINED)


def computed(cells: Sequence[Cell], path: Path, **options: Any) -> pd.DataFrame:
    with Store(path) as store:
        run(cells, store, **options)
        return store.table().drop(columns=NOT_DETERMINED)


# What is computed.


def test_a_sweep_gives_what_training_and_the_ruler_give(tmp_path: Path) -> None:
    with Store(tmp_path / "a") as store:
        state = run([*CELLS, *OTHER, *CELLS[:2]], store)
        found = store.results([*CELLS, *OTHER])
        seconds = store.table()["seconds"]
    assert (state.total, state.done, state.failed, state.running, state.seconds_left) == (29, 29, 0, 0, 0.0)
    assert [result.cell for result in found] == [*CELLS, *OTHER] and (seconds > 0).all()
    for results in (found[:27], found[27:]):
        first = results[0].cell
        shapes = list(dict.fromkeys(result.cell.shape.heads for result in results))
        models = train(
            task=first.task(), shapes=shapes, num_models=len(results) // len(shapes), settings=SHORT, variant=first.variant,
            seed=first.seed,
        )  # fmt: skip
        for result, model in zip(results, models, strict=True):
            ruler = measure(model.to_transformer(), first.task())
            assert result.state == "done" and not result.diverged and result.reason == ""
            assert (result.draw_accuracy, result.final_loss) == (model.notebook_accuracy, model.final_loss)
            assert (result.accuracy, result.held, result.memory) == (ruler.accuracy, ruler.held, ruler.memory)
            assert result.margin_min == ruler.margin_min
            assert result.nominal_parameters == model.nominal_parameters
            assert result.effective_parameters == model.effective_parameters


def test_computing_needs_no_store_and_gives_every_cell_once() -> None:
    found = [result for stack in compute(iter([*CELLS[:4], *OTHER, *CELLS[:1]])) for result in stack]
    assert Counter(result.cell for result in found) == Counter([*CELLS[:4], *OTHER])


def test_neither_chunks_nor_order_nor_threads_change_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = computed(CELLS, tmp_path / "whole")
    monkeypatch.setattr(_sweep_plan, "LEAST_CELLS", 1)
    pd.testing.assert_frame_equal(computed(CELLS[::-1], tmp_path / "small"), whole)
    monkeypatch.undo()
    before = torch.get_num_threads()
    pd.testing.assert_frame_equal(computed(CELLS, tmp_path / "threads", threads=before + 1), whole)
    assert torch.get_num_threads() == before


def test_what_is_finished_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "a") as store:
        run(CELLS[:5], store)
        asked = spy(monkeypatch)
        assert run(CELLS[:8], store).done == 8
        assert Counter(asked) == Counter((cell.shape, cell.repetition) for cell in CELLS[5:8])
        asked.clear()
        assert run(CELLS[:8], store).done == 8 and run([], store) == SweepState(0, 0, 0, 0, 0.0, "")
        assert asked == []


def spy(monkeypatch: pytest.MonkeyPatch, bad: Sequence[tuple[AttentionShape, int]] = (), late: bool = False) -> list[Any]:
    """All members that training is asked for; a call with a bad one fails, at once or after its other stacks."""
    real, asked = training.train_members, []

    def train_members(*, members: Sequence[tuple[AttentionShape, int]], **options: Any) -> tuple[training.TrainedModel, ...]:
        asked.extend(members)
        good = [member for member in members if member not in bad]
        if len(good) < len(members):
            if late and good:
                real(members=good, **options)
            raise TypeError("no such\n  model")
        return real(members=members, **options)

    monkeypatch.setattr(training, "train_members", train_members)
    return asked


@pytest.mark.parametrize("late", [False, True])
def test_a_bad_cell_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    whole = computed(CELLS, tmp_path / "whole")
    bad = [CELLS[4], CELLS[17]]
    asked = spy(monkeypatch, [(cell.shape, cell.repetition) for cell in bad], late)
    with Store(tmp_path / "a") as store:
        states: list[SweepState] = []
        state = run(CELLS, store, progress=states.append)
        assert (state.done, state.failed, state.running) == (25, 2, 0)
        assert store.failed([cell.key for cell in CELLS]) == {cell.key: "TypeError: no such model" for cell in bad}
        assert any("failed: N = 6, d = 2, H = 1, d_h = 2, model 1: TypeError" in state.message for state in states)
        assert len(asked) < 6 * len(CELLS)  # halves, not one by one from the start
        asked.clear()
        assert run(CELLS, store).failed == 2 and asked == []  # failures stay until they are to be tried again
        assert run(CELLS, store, retry_failed=True).failed == 2 and len(set(asked)) == 2
        monkeypatch.undo()
        assert run(CELLS, store, retry_failed=True).failed == 0
    pd.testing.assert_frame_equal(table(tmp_path / "a"), whole)


def test_a_cell_without_result_ends_the_run_in_place_of_waiting_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sweep.compute_into
    monkeypatch.setattr(sweep, "compute_into", lambda cells, deliver, report: whole(list(cells)[1:], deliver, report))
    with Store(tmp_path / "a") as store, pytest.raises(RuntimeError, match=r"1 of \d+ cells came to no result"):
        run(CELLS[:9], store)
    with Store(tmp_path / "a") as store:
        assert 0 < len(store.finished([cell.key for cell in CELLS[:9]])) < 9 and not store.running()


def test_a_table_too_large_fails_its_own_cells(tmp_path: Path) -> None:
    large = Cell(100_000, TransformerShape(2, 1, 2), settings=SHORT, seq_len=3)
    with Store(tmp_path / "a") as store:
        assert run([large, *OTHER], store).failed == 1
        assert store.failed([large.key])[large.key].startswith("ValueError: vocab_size = 100000, seq_len = 3")


def test_a_ruler_that_breaks_fails_the_model_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, task: Any, **options: Any) -> Any:
        if model.num_heads == 13:
            raise FloatingPointError
        return measure(model, task, **options)

    monkeypatch.setattr("empirical._sweep_compute.measure", broken)
    with Store(tmp_path / "a") as store:
        assert run(CELLS, store).failed == 9
        assert set(store.failed([cell.key for cell in CELLS]).values()) == {"FloatingPointError"}


def test_divergence_is_a_result_with_a_reason(tmp_path: Path) -> None:
    wild = replace(SHORT, learning_rate=1e30, final_learning_rate=1e30)
    cell = Cell(6, TransformerShape(2, 1, 2), settings=wild)
    with Store(tmp_path / "a") as store:
        state = run([cell], store)
        (result,) = store.results([cell])
    assert (state.done, state.failed, result.state, result.diverged) == (1, 0, "done", True)
    assert "not finite" in result.reason and result.held is None and np.isnan(result.accuracy) and result.nominal_parameters == 44


def test_a_store_in_trouble_ends_the_run_and_blames_no_cell(tmp_path: Path) -> None:
    with Store(tmp_path / "a") as store:
        store._connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(StoreError, match="the disk is full"):
            run(CELLS, store)
        store._connection.execute("PRAGMA max_page_count = 10000")
        assert store.running() == {} and store.failed([cell.key for cell in CELLS]) == {}
        assert run(CELLS, store).done == 27


def test_progress_counts_up_and_ends_with_nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sweep_plan, "LEAST_CELLS", 3)
    monkeypatch.setattr(_sweep_plan, "REFRESH_SECONDS", 0.0)
    states: list[SweepState] = []
    with Store(tmp_path / "a") as store:
        last = run(CELLS, store, progress=states.append)
    assert states[-1] == last and states[0].done == 0 and max(state.running for state in states) >= 3
    assert all(before.done <= after.done for before, after in pairwise(states))
    assert all(state.total == 27 and state.done + state.failed + state.running <= 27 for state in states)
    told = [state.seconds_left for state in states if state.seconds_left is not None]
    assert told[-1] == 0.0 and max(told) > 0 and min(told) >= 0


def test_an_interrupt_gives_claims_back_and_the_rest_is_computed_later(tmp_path: Path) -> None:
    def interrupt(state: SweepState) -> None:
        if state.done >= 3:
            raise KeyboardInterrupt

    with Store(tmp_path / "a") as store:
        with pytest.raises(KeyboardInterrupt):
            run(CELLS, store, progress=interrupt)
        assert store.running() == {} and 3 <= len(store.table()) < 27
        run(CELLS, store)
    pd.testing.assert_frame_equal(table(tmp_path / "a"), computed(CELLS, tmp_path / "whole"))


@pytest.mark.parametrize("gives_up", [False, True])
def test_a_run_waits_for_what_others_are_at(tmp_path: Path, gives_up: bool) -> None:
    theirs = [result for stack in compute(OTHER) for result in stack]
    with Store(tmp_path / "a") as store, Store(tmp_path / "a") as other:
        assert len(other.claim([cell.key for cell in OTHER])) == 2

        def finish(state: SweepState) -> None:
            if state.done == 3:
                assert state.running == 2
                if gives_up:
                    other.release()
                else:
                    other.put(theirs)

        assert run([*OTHER, *CELLS[:3]], store, progress=finish).done == 5


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "slurm"}, "engine = 'slurm': must be one of 'local', 'dask'"),
        ({"scheduler": "tcp://a:1"}, "legal together with engine = 'dask' only"),
        ({"threads": 0}, "threads = 0: must be an integer >= 1"),
        ({"threads": 2, "engine": "dask"}, "legal together with engine = 'local' only"),
    ],
)
def test_arguments_are_checked_before_anything_is_done(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with Store(tmp_path / "a") as store, pytest.raises(ValueError, match=words):
        run(CELLS, store, **options)
