"""The table of published errors: what is in it, in which kinds, and the thresholds that are said of it."""

import numpy as np
import pytest

from empirical.hop_errors import HOP_COLUMNS, typed
from empirical.published_hops import DROPOUT_OFF, DROPOUT_ON, read_published_hops

TABLE = read_published_hops()
ON, OFF = (TABLE[TABLE["name"] == name] for name in (DROPOUT_ON, DROPOUT_OFF))


def errors(table, **values):
    for name, value in values.items():
        table = table[table[name].isna()] if value is None else table[table[name] == value]
    found = table.set_index("num_hops")["error"]
    assert found.index.is_unique
    return found


def reached(found, level):
    """The largest K with errors below the level for all k from 1 to K."""
    below = found.drop(0, errors="ignore").sort_index() < level
    assert list(below.index) == list(range(1, len(below) + 1))
    return int(below.cummin().sum())


def test_columns_kinds_and_types_are_those_of_all_tables():
    assert tuple(TABLE.columns) == HOP_COLUMNS
    assert set(TABLE["kind"]) == {"published"}
    assert (TABLE.dtypes == typed(TABLE).dtypes).all()
    assert set(TABLE["name"]) == {DROPOUT_ON, DROPOUT_OFF} and len(ON) + len(OFF) == len(TABLE) == 270
    assert not TABLE.duplicated(["name", "num_layers", "num_heads", "train_samples", "num_hops"]).any()


def test_errors_are_shares_without_intervals_and_sizes_those_of_the_experiments():
    assert TABLE["error"].between(0, 0.8).all()
    assert TABLE[["error_low", "error_high", "missing_error", "last_error", "exact_match", "seed"]].isna().all(axis=None)
    assert (TABLE["embed_dim"] == 32 * TABLE["num_heads"]).all()
    for name, size in {"seq_len": 98, "vocab_size": 4, "max_hops": 16}.items():
        assert (TABLE[name] == size).all()


def test_the_two_kinds_of_evaluation_are_told_apart_in_every_row():
    assert set(ON["num_strings"]) == {100} and set(OFF["num_strings"]) == {300}
    assert ON["source"].str.endswith("dropout on").all() and OFF["source"].str.contains("dropout off").all()
    assert set(ON["num_hops"]) == set(range(17)) and set(OFF["num_hops"]) == set(range(1, 17))


@pytest.mark.parametrize("heads", [4, 8])
@pytest.mark.parametrize("layers", range(2, 7))
def test_models_trained_on_new_strings_have_all_k(heads, layers):
    assert sorted(errors(ON, num_heads=heads, num_layers=layers, train_samples=None).index) == list(range(17))


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        ({1: 0.01, 8: 0.6581, 16: 0.7365}, {"num_layers": 2, "num_heads": 4}),
        ({0: 0.0, 8: 0.0059, 16: 0.0616}, {"num_layers": 6, "num_heads": 4}),
        ({3: 0.0005, 11: 0.0978, 16: 0.3339}, {"num_layers": 4, "num_heads": 8}),
        ({1: 0.18, 2: 0.53, 3: 0.61, 4: 0.67, 8: 0.76, 16: 0.76}, {"num_layers": 2, "train_samples": 1000}),
        ({1: 0.0005, 2: 0.0007, 3: 0.0015, 4: 0.0026, 8: 0.012, 16: 0.11}, {"num_layers": 6, "train_samples": 3000}),
    ],
)
def test_single_published_values(wanted, values):
    found = errors(ON, **{"train_samples": None, **values})
    assert {hops: found[hops] for hops in wanted} == wanted
    if "train_samples" in values:
        assert sorted(found.index) == sorted(wanted)


@pytest.mark.parametrize(("level", "expected"), [(0.01, [1, 3, 6, 11]), (0.05, [2, 4, 7, 12])])
def test_thresholds_of_the_checkpoints_with_dropout_off(level, expected):
    assert [reached(errors(OFF, num_layers=layers), level) for layers in range(2, 6)] == expected


def test_dropout_off_is_better_wherever_that_can_be_told():
    """Where the published error is small but not nil, between 0.1% and 20%, the same model is right more often in eval mode."""
    for layers in range(2, 6):
        with_it, without = errors(ON, num_layers=layers, num_heads=4, train_samples=None), errors(OFF, num_layers=layers)
        both = with_it[with_it.between(0.001, 0.2)].drop(0, errors="ignore")
        better = without[both.index] < both
        assert len(both) and better.mean() > 0.9, layers


def test_deeper_is_better_at_every_k_where_the_shallower_is_not_nearly_right():
    for table, heads, depths in ((ON, 4, range(2, 6)), (ON, 8, range(2, 6)), (OFF, 4, range(2, 5))):
        for layers in depths:
            shallow, deep = (errors(table, num_heads=heads, num_layers=n, train_samples=None) for n in (layers, layers + 1))
            told = shallow[shallow > 0.02].index
            assert np.all(deep[told] < shallow[told])
