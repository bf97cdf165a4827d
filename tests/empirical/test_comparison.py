"""The comparison's table: a fixed schema, four kinds of rows that never mix, numbers that follow their formulas."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical import ROW_COLUMNS, TrainingSettings, compare, mean_interval, read_published, tidy
from theory.tasks import AssociationTask

SHORT = TrainingSettings(batch_size=16, num_batches=4, epochs=3, accuracy_window=5)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    task = AssociationTask.complete(10, 2, 0)
    return compare(task=task, embed_dim=2, head_dim=2, heads=[21, 1, 49], num_models=3, settings=SHORT, table_seed=0)


def test_every_row_has_the_fixed_columns(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == ROW_COLUMNS
    assert table["num_heads"].is_monotonic_increasing
    counts = table.groupby("num_heads")["kind"].value_counts()
    for heads, published in ((1, 1), (21, 1), (49, 0)):
        kinds = counts[heads].to_dict()
        assert kinds.pop("published", 0) == published
        assert kinds == {"bound": 4, "built": 1, "trained": 1}


def test_bounds_and_built_agree_with_the_formulas(table: pd.DataFrame) -> None:
    rows = table.set_index(["name", "num_heads"])
    assert rows.loc[("corollary_1", 21), "held"] == 44
    assert rows.loc[("corollary_1_repaired", 49), "held"] == 100
    assert rows.loc[("corollary_1", 49), "accuracy"] == 1.0
    assert rows.loc[("previous", 21), "held"] == 22
    assert rows.loc[("chance", 1), "accuracy"] == 0.1
    assert rows.loc[("corollary_1", 21), "accuracy"] == pytest.approx(0.1 + 0.9 * 0.44)
    assert rows.loc[("staircase", 49), "accuracy"] == 1.0
    built = table[table["kind"] == "built"]
    promised = table[table["name"] == "corollary_1_repaired"]
    assert (built["held"].to_numpy() >= promised["held"].to_numpy()).all()
    assert built["table_seed"].eq(0).all() and built["model_seed"].eq(0).all()


def test_trained_rows_are_means_with_intervals(table: pd.DataFrame) -> None:
    trained = table[table["kind"] == "trained"]
    assert (trained["accuracy_low"] <= trained["accuracy"]).all() and (trained["accuracy"] <= trained["accuracy_high"]).all()
    assert trained["num_models"].eq(3).all() and trained["num_diverged"].eq(0).all()
    assert trained["draw_accuracy"].notna().all()
    assert (trained["held"] / 100).to_numpy() == pytest.approx(trained["accuracy"].to_numpy())


def test_published_rows_are_draw_accuracies_of_the_same_shape(table: pd.DataFrame) -> None:
    published = table[table["kind"] == "published"].set_index("num_heads")
    assert published["accuracy"].isna().all()
    assert published["draw_accuracy"].to_dict() == {1: 0.3305, 21: 0.8578}
    other = compare(task=AssociationTask.complete(9, 2, 0), embed_dim=2, head_dim=2, heads=[1], kinds=["published"])
    assert other.empty and tuple(other.columns) == ROW_COLUMNS


def test_a_table_survives_csv(table: pd.DataFrame, tmp_path: object) -> None:
    path = tmp_path / "t.csv"  # type: ignore[operator]
    table.to_csv(path, index=False)
    back = tidy(pd.read_csv(path).astype(object).where(lambda frame: frame.notna(), None).to_dict("records"))
    pd.testing.assert_frame_equal(back, table)


def test_diverged_models_are_counted_and_not_averaged() -> None:
    wild = replace(SHORT, learning_rate=1e30, final_learning_rate=1e30)
    task = AssociationTask.complete(5, 2, 0)
    row = compare(task=task, embed_dim=2, head_dim=2, heads=[2], num_models=2, settings=wild, kinds=["trained"]).iloc[0]
    assert row["num_diverged"] == 2
    assert np.isnan(row["accuracy"]) and np.isnan(row["draw_accuracy"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": []}, "heads"),
        ({"heads": [1, 1]}, "distinct"),
        ({"heads": [-1]}, "heads"),
        ({"heads": [1.5]}, "heads"),
        ({"kinds": ["guess"]}, "kinds"),
        ({"head_dim": 3}, "head_dim = 3"),
        ({"embed_dim": 1, "head_dim": 1}, "embed_dim = 1"),
        ({"num_models": 0}, "num_models = 0"),
    ],
)
@pytest.mark.bad_input
def test_bad_arguments_are_named(change: dict[str, object], words: str) -> None:
    arguments = {"task": AssociationTask.complete(4, 2, 0), "embed_dim": 2, "head_dim": 2, "heads": [1], "settings": SHORT}
    with pytest.raises(ValueError, match=words):
        compare(**{**arguments, **change})  # type: ignore[arg-type]


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match="column 'colour'"):
        tidy([{"colour": "red"}])


@settings(max_examples=10)
@given(st.integers(3, 20), st.integers(0, 10))
def test_the_interval_covers_the_mean_about_as_often_as_it_says(size: int, seed: int) -> None:
    draws = np.random.default_rng(seed).normal(size=(1500, size))
    covered = sum(low <= 0.0 <= high for _, low, high in map(mean_interval, draws.tolist()))
    # Binomial(1500, 0.95): five standard deviations are 42.
    assert abs(covered - 1425) <= 43


def test_published_values_are_the_sheet_of_the_paper() -> None:
    published = read_published()
    assert published["draw_accuracy"].between(0, 1).all()
    assert published.groupby("experiment").size().to_dict() == {"exp_1": 77, "exp_2": 10, "exp_3": 11, "exp_6": 6}
    assert not published.duplicated(["experiment", "embed_dim", "head_dim", "num_heads"]).any()
    values = published.set_index(["experiment", "embed_dim", "head_dim", "num_heads"])["draw_accuracy"]
    assert values["exp_1", 10, 10, 11] == 0.5063 and values["exp_1", 3, 3, 31] == 0.0973 and values["exp_6", 2, 2, 21] == 0.8578
    assert values["exp_2", 10, 9, 20] == 0.6391 and values["exp_3", 15, 10, 20] == 0.8136
