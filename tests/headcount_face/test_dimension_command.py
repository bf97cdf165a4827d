"""`headcount dimension`: what it reads, says and writes."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from empirical.dimension import known_cloud, levina_bickel
from headcount._dimension import dimension, read_points

TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 3)))[0].T
POINTS = known_cloud("sphere", 2, 300, np.random.default_rng(0)) @ TURN


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, POINTS.astype(np.float32))
    return path


def run(path, **changed):
    arguments = {
        "methods": ["levina_bickel", "two_nn"], "neighbours": 12, "metric": "euclidean", "beta": 1.0, "points": 1000,
        "resamples": 20, "seed": 0, "out": None,
    }  # fmt: skip
    dimension(path=path, **{**arguments, **changed})


@pytest.fixture
def plain_figures(monkeypatch):
    """Figures that are their data: drawing is tested elsewhere, and slow."""
    fake = ModuleType("headcount.figures.manifolds")

    def draw(png, pdf):
        png.touch()
        pdf.touch()

    fake.bias_figure = fake.scales_figure = lambda table, beta=1.0: (table, draw)
    monkeypatch.setitem(sys.modules, "headcount.figures.manifolds", fake)


def test_it_says_and_writes_what_the_estimators_found(saved, tmp_path, capsys, plain_figures):
    run(saved, out=tmp_path / "new" / "folder")
    said = capsys.readouterr().out
    assert "300 points, 6 coordinates each" in said and "of known dimension d" in said and "by scale" in said
    table = pd.read_csv(tmp_path / "new" / "folder" / "dimension.csv").set_index("method")
    told = levina_bickel(POINTS.astype(np.float32), neighbours=12, resamples=20)
    assert table.loc["levina_bickel", ["dimension", "low", "high"]].astype(float).to_list() == pytest.approx(
        [told.dimension, told.low, told.high], rel=1e-9
    )
    assert "estimate [95%]" in said and "after its bias [range]" in said
    assert "balls, Gaussians and spheres" in said and "other shapes can lie outside: no 95% interval" in said
    row = table.loc["levina_bickel"]
    assert row["corrected_low"] < 2 < row["corrected_high"]
    assert 1 / row["data_exponent"] - 1 / row["model_exponent"] == pytest.approx(1)
    assert f"{told.dimension:.3g} [{told.low:.3g}, {told.high:.3g}]" in said
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "dimension.csv", *(f"dimension-{name}.{kind}" for name in ("bias", "scales") for kind in ("csv", "png", "pdf"))
    }  # fmt: skip


def test_tables_and_arrays_are_read_alike_and_drawn_by_the_seed(saved, tmp_path):
    text = tmp_path / "points.csv"
    pd.DataFrame(POINTS.astype(np.float32), columns=list("abcdef")).to_csv(text, index=False)
    from_text, from_array = (read_points(path, 50, 7) for path in (text, saved))
    assert from_text[1] == from_array[1] == 300
    assert from_text[0].shape == (50, 6) and len(np.unique(from_array[0], axis=0)) == 50
    assert from_text[0] == pytest.approx(from_array[0].astype(float), rel=1e-6)
    assert (read_points(saved, 50, 8)[0] != from_array[0]).any()


@pytest.mark.parametrize(("columns", "words"), [(1, "balls and Gaussians that"), (2, "balls, Gaussians and spheres")])
def test_a_sphere_is_a_rival_where_it_fits(tmp_path, capsys, columns, words):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(size=(100, columns)))
    run(tmp_path / "a.npy", methods=["levina_bickel"])
    assert words in capsys.readouterr().out


def test_directions_fill_a_sphere_of_one_dimension_less(tmp_path, capsys, plain_figures):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((300, 3)))
    run(tmp_path / "a.npy", methods=["levina_bickel"], metric="cosine", out=tmp_path)
    curve = pd.read_csv(tmp_path / "dimension-bias.csv")
    assert sorted(set(curve["dimension"])) == [1, 2] and set(curve.loc[curve["dimension"] == 2, "family"]) >= {"ball", "sphere"}


def write(path, content):
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    else:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", np.zeros((3, 4, 5)), "float64 (3, 4, 5)"),
        ("a.npy", np.array([{"a": 1}], dtype=object), "no array of numbers"),
        ("a.npy", "not an array", "no .npy file"),
        ("a.npy", "", "no .npy file"),
        ("a.npz", "x", "'.npz'; .npy, .csv and .tsv are legal"),
        ("a.csv", "x,y\n1,word\n", "no number"),
        ("a.csv", ",y\n0,1\n1,2\n", "without a name"),
        ("a.npy", np.full((50, 3), np.nan), "50 of 50 rows have a NaN"),
        ("a.npy", np.ones((50, 3)), "all points are the same"),
        ("a.npy", np.arange(15.0).reshape(5, 3), "too few for 12 neighbours"),
    ],
)
def test_what_is_no_cloud_is_refused_in_one_line(tmp_path, name, content, words):
    with pytest.raises(ValueError) as error:
        run(write(tmp_path / name, content), methods=["levina_bickel"])
    assert words in str(error.value) and "\n" not in str(error.value)
