"""`headcount manifold build` and `headcount dimension`: what they print, write and refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from constructions.manifolds import ManifoldNetwork
from headcount import _manifold_figures
from headcount.cli import app
from theory.manifolds import Sphere, manifold_named, target_named


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], prog_name="headcount")


def refused(result: Result, *words: str) -> None:
    """A line of a user's mistake; `headcount.cli.main` prints it and exits with 2."""
    said = str(result.exception) + result.output
    assert result.exit_code != 0 and "Traceback" not in result.output
    assert not isinstance(result.exception, KeyError | TypeError | AttributeError | IndexError), said
    for word in words:
        assert word in said, said


def test_build_writes_the_network_that_it_measured(tmp_path: Path) -> None:
    place = tmp_path / "circle.safetensors"
    result = call("manifold", "build", "circle", "--grid", "16", "--ambient-dim", "8", "--points", "400", "-o", str(place))
    assert result.exit_code == 0, result.output
    circle = manifold_named("circle", 8, 0)
    target = target_named(circle, "smooth", 0.5)
    sample = circle.sample(400, np.random.default_rng(0))
    error = np.sqrt(np.mean((ManifoldNetwork.load(place)(sample) - target(sample)) ** 2))
    assert 0 < error < 0.1
    assert f"rms {error:.3g}" in result.output and "4 (the same for every N)" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("klein-bottle",), ("klein-bottle", "circle", "torus")),
        (("circle", "--ambient-dim", "1"), ("ambient-dim",)),
        (("sphere", "--ambient-dim", "2"), ("2", "3")),
        (("circle", "--grid", "1"), ("grid",)),
        (("circle", "--beta", "1.5"), ("beta",)),
        (("circle", "--degree", "-1"), ("degree",)),
        (("torus-3", "--grid", "100000"), ("grid",)),
        (("circle", "--points", "1000000"), ("--points", "100,000")),
    ],
)
def test_bad_arguments_of_build(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call("manifold", "build", *arguments, "-o", str(tmp_path / "m.safetensors")), *words)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("points") / "sphere.npy"
    np.save(place, Sphere(2).embedded(9, seed=1).sample(700, np.random.default_rng(0)))
    return place


def test_dimension_of_a_sphere(sphere: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        "dimension", str(sphere), "--method", "levina_bickel", "--method", "two_nn", "--resamples", "50", "--out", str(out)
    )
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out / "dimension.csv")
    assert found["method"].tolist() == ["levina_bickel", "two_nn"]
    mine = found[found["method"] == "levina_bickel"].iloc[0]
    assert mine["low"] <= mine["dimension"] <= mine["high"] and abs(mine["dimension"] - 2) < 0.25
    assert {place.suffix for place in out.iterdir()} >= {".csv", ".png", ".pdf"}


def _text(place: Path) -> None:
    place.write_text("nothing", encoding="utf-8")


def _objects(place: Path) -> None:
    np.save(place, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


def _cut_header(place: Path) -> None:
    np.save(place, np.zeros((50, 3)))
    place.write_bytes(place.read_bytes().replace(b")", b" ", 1))


def _archive(place: Path) -> None:
    with open(place, "wb") as file:
        np.savez(file, np.zeros((50, 3)))


def _saved(points: np.ndarray) -> Callable[[Path], None]:
    return lambda place: np.save(place, points)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_text, ()),
        (_objects, ("Python objects",)),
        (_cut_header, ()),
        (_archive, ("no .npy file",)),
        (_saved(np.zeros(7)), ("(7,)",)),
        (_saved(np.full((50, 3), 2.0)), ()),
        (_saved(np.full((50, 3), np.nan)), ()),
        (_saved(np.zeros((0, 3))), ()),
        (_saved(np.random.default_rng(0).normal(size=(10, 3))), ("10",)),
        (_saved(np.random.default_rng(0).normal(size=(60, 3)).astype(complex)), ("complex",)),
    ],
    ids=["text", "objects", "header cut", "archive", "one axis", "constant", "nan", "empty", "too few", "complex"],
)
def test_files_that_hold_no_cloud_of_points(tmp_path: Path, write: Callable[[Path], None], words: tuple[str, ...]) -> None:
    place = tmp_path / "points.npy"
    write(place)
    refused(call("dimension", str(place), "--method", "levina_bickel", "--out", str(tmp_path / "out")), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resamples", "3"), ("--resamples 3", "20")),
        (("--beta", "1e300"), ("100",)),
        (("--beta", "nan"), ("nan",)),
        (("--method", "guess"), ("guess", "two_nn")),
        (("--metric", "angle"), ("angle",)),
    ],
)
def test_bad_arguments_of_dimension(sphere: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call("dimension", str(sphere), *arguments), *words)


def test_a_table_with_words_for_numbers_is_not_drawn(tmp_path: Path) -> None:
    place = tmp_path / "exponents.csv"
    pd.DataFrame({"exponent": ["x", "y"], "reason": ["", ""]}).to_csv(place, index=False)
    with pytest.raises(ValueError, match=r"exponents\.csv: column exponent holds what is no number"):
        _manifold_figures._read(place)


def test_runs_for_the_text_part_that_are_a_file_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("", encoding="utf-8")
    out = tmp_path / "out"
    result = call("manifold", "train", "--tier", "smoke", "--text", str(tmp_path / "text"), "--out", str(out))
    refused(result, "--text", "is a file")
    assert not out.exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(call("dimension", str(tmp_path / "none.npy")), "none.npy")
