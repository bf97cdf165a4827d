"""`headcount scaling`: what the commands print, write and refuse; points are drawn from a known law."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from headcount.cli import app
from theory.scaling import PUBLISHED, HoffmannLaw

# One exponent for both: of the laws with an allocation the one that takes the fewest starts to fit.
TRUTH = HoffmannLaw(1.87, 520.0, 1490.0, 0.35, 0.35)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["scaling", *arguments], prog_name="headcount")


def refused(result: Result, *words: str) -> None:
    """A line of a user's mistake; `headcount.cli.main` prints it and exits with 2."""
    said = str(result.exception) + result.output
    assert result.exit_code != 0 and "Traceback" not in result.output
    for word in words:
        assert word in said, said


def points(num: int = 60, seed: int = 0, noise: float = 0.005) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    sizes, tokens = 10 ** generator.uniform(8, 10, num), 10 ** generator.uniform(9.5, 11.5, num)
    loss = TRUTH.loss(sizes, tokens) * np.exp(noise * generator.normal(size=num))
    return pd.DataFrame({"Model Size": sizes, "Training FLOP": 6 * sizes * tokens, "final, loss": loss})


COLUMNS = "N=Model Size,C=Training FLOP,L=final, loss"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Output and folder of one whole fit, of 60 points and four rows that are none."""
    folder = tmp_path_factory.mktemp("fit")
    table = points()
    table.loc[len(table)] = [1e9, np.nan, 2.5]
    table.loc[len(table)] = [1e9, 1e20, 0.0]
    table.loc[len(table)] = [np.inf, 1e20, 2.5]
    table.loc[len(table)] = [1e9, 1e20, -2.5]
    table.to_csv(folder / "points.csv", index=False)
    result = call(
        "fit", str(folder / "points.csv"), "--columns", COLUMNS, "--law", "tied", "--bootstraps", "40",
        "--flops", "1e22", "--flops", "1e24", "--counts", "total", "--out", str(folder / "out"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return result.output, folder / "out"


def test_fit_says_what_it_found_and_how_far_to_trust_it(fitted: tuple[str, Path]) -> None:
    output, _ = fitted
    for words in (
        "60 points, 4 rows dropped", "dropped line 62", "dropped line 65", "D = C / (6 N)", "profile likelihood", "minimum",
        "weakest", "influence 1", "back-test 1", "1 envelope", "2 iso-flop", "3 parametric", "1e+22", "warning: 1e+24 FLOP is",
    ):  # fmt: skip
        assert words in output, words
    assert "embeddings is not stated" not in output


def test_fit_covers_the_truth_and_writes_it_all(fitted: tuple[str, Path]) -> None:
    _, folder = fitted
    names = {place.name for place in folder.iterdir()}
    drawn = ("fit", "profiles", "allocation", "iso-flop", "envelope")
    figures = {f"figure-{name}.{kind}" for name in drawn for kind in ("png", "pdf", "csv")}
    tables = {f"{name}.csv" for name in ("points", "dropped", "constants", "influence", "back_test", "iso-flop-optima")}
    assert figures | tables <= names
    assert pd.read_csv(folder / "dropped.csv")["line"].tolist() == [62, 63, 64, 65]
    constants = pd.read_csv(folder / "constants.csv")
    assert {"parameter", "value", "method", "low", "high", "level"} <= set(constants.columns)
    profiled = constants[constants["method"] == "profile likelihood"].set_index("parameter")
    for name in ("E", "alpha"):  # seed 0; each interval misses one time in twenty
        assert profiled.loc[name, "low"] <= getattr(TRUTH, name) <= profiled.loc[name, "high"]
    assert len(pd.read_csv(folder / "points.csv")) == 60


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (points(3), "refused"),
        (points(40).assign(**{"Training FLOP": lambda t: 120 * t["Model Size"] ** 2}), "collinear"),
        (points(40).assign(**{"Model Size": lambda t: 1e9 * t["Model Size"] ** 0.1}), "decade"),
    ],
    ids=["three rows", "collinear", "narrow"],
)
def test_tables_that_decide_nothing_are_refused_with_the_reason(tmp_path: Path, rows: pd.DataFrame, words: str) -> None:
    rows.to_csv(tmp_path / "p.csv", index=False)
    result = call("fit", str(tmp_path / "p.csv"), "--columns", COLUMNS, "--bootstraps", "0")
    assert result.exit_code == 1 and words in result.output and "--anyway" in result.output
    assert "3 parametric" not in result.output


def test_one_quantity_law(tmp_path: Path) -> None:
    sizes = np.geomspace(1e6, 1e9, 12)
    pd.DataFrame({"N": sizes, "D": 1e11, "L": (8.8e13 / sizes) ** 0.076}).to_csv(tmp_path / "p.csv", index=False)
    result = call("fit", str(tmp_path / "p.csv"), "--law", "kaplan-parameters", "--bootstraps", "0")
    assert result.exit_code == 0, result.output
    assert "0.076" in result.output and "8.8e+13" in result.output and "envelope" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--columns", "N=nope,C=Training FLOP,L=final, loss"), ("there is no column 'nope'",)),
        (("--columns", "N"), ("ROLE=NAME",)),
        (("--units", "N=dozens", "--columns", COLUMNS), ("dozens",)),
        ((), ("are needed",)),
        (("--level", "1.5"), ("between 0 and 1",)),
        (("--delta", "nan"), ("finite number > 0",)),
        (("--flops", "-1"), ("finite number > 0",)),
        (("--bootstraps", "3", "--columns", COLUMNS), ("at least 20",)),
    ],
)
def test_bad_arguments_of_fit(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    points(20).to_csv(tmp_path / "p.csv", index=False)
    refused(call("fit", str(tmp_path / "p.csv"), *arguments), *words)
    assert [place.name for place in tmp_path.iterdir()] == ["p.csv"]


def test_allocate_shows_the_trap_of_rounding() -> None:
    result = call("allocate", "--flops", "5.76e23")
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip() and "2" in line.split()[0]}
    found = {name: round(float(cells[0]) / 1e9) for name, cells in rows.items() if name in PUBLISHED}
    assert found["hoffmann2022_rounded"] == 32 and found["hoffmann2022"] == 40 and found["besiroglu2024"] == 72
    assert "kaplan2020" in rows


def test_allocate_with_constants_and_inference() -> None:
    constants = "E=1.69,A=406.4,B=410.7,alpha=0.336,beta=0.283"
    result = call("allocate", "--flops", "1e23", "--constants", constants, "--inference-tokens", "2e12")
    assert result.exit_code == 0 and "your constants" in result.output and "saved" in result.output
    assert "hoffmann2022" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("allocate", "--flops", "0"), ("finite number > 0",)),
        (("allocate", "--flops", "1e-300"), ("1e6 to 1e40",)),
        (("allocate", "--flops", "1e23", "--law", "kaplan2020", "--inference-tokens", "1e12"), ("gives no loss to hold",)),
        (("allocate", "--flops", "1e21", "--law", "nope"), ("--law nope", "besiroglu2024")),
        (("allocate", "--flops", "1e21", "--constants", "E=1,A=2"), ("B, alpha, beta missing",)),
        (("allocate", "--flops", "1e21", "--constants", "E=1,A=x,B=1,alpha=1,beta=1"), ("A=x",)),
        (("allocate", "--flops", "1e21", "--constants", "E=1,A=1,B=1,alpha=-1,beta=1"), ("alpha",)),
        (("laws", "nope"), ("must be one of",)),
        (("figure", "nope"), ("counting", "legal")),
        (("figure", "runs", "--out", "nowhere"), ("no run of tier quick", "scaling train")),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(call(*arguments), *words)


def test_laws_have_source_and_units() -> None:
    result = call("laws")
    assert result.exit_code == 0
    for name in PUBLISHED:
        assert name in result.output
    assert "PF-days" in result.output and "Besiroglu et al. 2024" in result.output


def test_power_law_of_a_column(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).zipf(2.2, 1500)
    table = pd.DataFrame({"word": [f"w{i}" for i in range(1500)], "count": counts.astype(float)})
    table.loc[3, "count"] = np.nan
    table.loc[5, "count"] = 0
    table.to_csv(tmp_path / "counts.csv", index=False)
    result = call("powerlaw", str(tmp_path / "counts.csv"), "--bootstraps", "20", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "1,498 values in column 'count', 2 rows dropped" in result.output
    assert "dropped line 5: count is missing" in result.output
    assert "verdict" in result.output and "whole numbers" in result.output
    assert {place.name for place in (tmp_path / "out").iterdir()} == {"tail.csv", "tail.png", "tail.pdf"}


def test_every_dropped_row_is_named(tmp_path: Path) -> None:
    lines = ["x", *map(str, range(1, 21)), *[""] * 2, *['""'] * 3, "0", "5", *["-1"] * 3, "7", "inf"]
    (tmp_path / "v.csv").write_text("\n".join(lines) + "\n")
    result = call("powerlaw", str(tmp_path / "v.csv"), "--bootstraps", "10")
    assert "22 values in column 'x', 8 rows dropped" in result.output, result.output
    assert "dropped line 24: x is missing" in result.output and "lines 30-31, 33" in result.output
@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("a,b\n1,2\n3,4\n", (), ("columns a, b have numbers", "--column")),
        ("a,b\nx,y\n", (), ("no column has numbers only",)),
        ("a\n1\n2\n", (), ("at least 10",)),
        ("a\n1\n2\n", ("--column", "c"), ("0 times",)),
        ("a\n" + "\n".join(map(str, range(1, 20))) + "\n", ("--x-min", "1e9"), ("none of 19 values",)),
        ("1\n2\n3\n", (), ("line 1 has numbers only",)),
        ("a\n" + "1.5\n" * 20, ("--kind", "discrete"), ("distinct",)),
        ("a\n" + "\n".join(map(str, np.linspace(1, 9, 30))) + "\n", ("--kind", "discrete"), ("not all values are integers",)),
    ],
)
def test_numbers_that_have_no_tail(tmp_path: Path, text: str, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    (tmp_path / "v.csv").write_text(text)
    refused(call("powerlaw", str(tmp_path / "v.csv"), *arguments), *words)


def test_a_figure_from_theory_alone(tmp_path: Path) -> None:
    result = call("figure", "counting", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert {place.suffix for place in (tmp_path / "out").iterdir()} == {".csv", ".png", ".pdf"}
