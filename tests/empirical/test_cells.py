"""A cell's specification: complete, the same text for equal cells, and refused in plain words when it is none."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empirical.cells import NUMERICS, Cell
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

PLAIN = Cell(50, TransformerShape(10, 11, 10))
SHAPES = st.builds(
    TransformerShape, st.integers(1, 60), st.integers(0, 31), st.integers(1, 60), st.integers(1, 5), st.integers(0, 780)
)
SETTINGS = st.builds(
    TrainingSettings,
    batch_size=st.integers(1, 2048), num_batches=st.integers(2, 300), epochs=st.integers(51, 99),
    learning_rate=st.floats(1e-9, 10), epsilon=st.floats(1e-12, 1),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)), dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
CELLS = st.builds(
    Cell, st.integers(2, 300), SHAPES, st.integers(0, 99), st.sampled_from(["notebook", "paper"]), SETTINGS,
    st.integers(1, 9), st.integers(0, 2**40), st.integers(0, 2**40), st.sampled_from(["cpu", "cuda"]),
)  # fmt: skip


@given(CELLS)
def test_a_specification_says_all_and_survives_json(cell: Cell) -> None:
    back = Cell.from_spec(json.loads(cell.text))
    assert back == cell and back.text == cell.text and back.key == cell.key
    assert len(cell.key) == 64 and cell.spec["numerics"] == NUMERICS


@given(CELLS, CELLS)
def test_keys_are_equal_for_equal_cells_only(one: Cell, other: Cell) -> None:
    assert (one == other) == (one.key == other.key)
    assert (one.company == other.company) == (
        replace(one, shape=other.shape, repetition=other.repetition) == other
    )


@pytest.mark.bad_input
def test_numbers_of_either_type_are_one_cell() -> None:
    whole = replace(PLAIN, settings=TrainingSettings(learning_rate=1, betas=(0, 0.5)))
    broken = replace(PLAIN, settings=TrainingSettings(learning_rate=1.0, betas=(0.0, 0.5)))
    assert whole == broken and whole.key == broken.key


def test_every_part_of_a_cell_is_in_its_key() -> None:
    others = [
        replace(PLAIN, vocab_size=51), replace(PLAIN, seq_len=3), replace(PLAIN, repetition=1), replace(PLAIN, table_seed=1),
        replace(PLAIN, seed=1), replace(PLAIN, variant="paper"), replace(PLAIN, device="cuda"),
        *(replace(PLAIN, shape=replace(PLAIN.shape, **{name: 7})) for name in PLAIN.shape.__dataclass_fields__),
        *(
            replace(PLAIN, settings=replace(PLAIN.settings, **{name: value}))
            for name, value in {
                "batch_size": 7, "num_batches": 7, "epochs": 70, "learning_rate": 0.5, "final_learning_rate": 0.5,
                "betas": (0.5, 0.5), "epsilon": 0.5, "accuracy_window": 7, "dtype": torch.float64,
            }.items()
        ),
    ]  # fmt: skip
    assert len({cell.key for cell in [PLAIN, *others]}) == 1 + len(others)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 1}, "vocab_size = 1"),
        ({"numerics": NUMERICS + 1}, "this version computes numerics"),
        ({"settings.dtype": "float16"}, "settings.dtype = 'float16'"),
        ({"settings.epochs": 0}, "epochs = 0"),
        ({"variant": "mine"}, "variant = 'mine'"),
        ({"device": "tpu"}, "device = 'tpu'"),
        ({"num_layers": 0}, "num_layers = 0"),
        ({"more": 1}, "more is unknown"),
        ({"seed": None}, "seed is missing"),
    ],
)
def test_what_is_no_specification_is_refused(change: dict[str, object], words: str) -> None:
    spec = {**PLAIN.spec, **change}
    if change == {"seed": None}:
        del spec["seed"]
    with pytest.raises(ValueError, match=words):
        Cell.from_spec(spec)
