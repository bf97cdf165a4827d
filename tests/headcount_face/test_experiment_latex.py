"""Tables for papers: whole LaTeX whatever the results say, with the numbers of the results in it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empirical.comparison import TEXT_COLUMNS, WHOLE_COLUMNS
from empirical.experiments import EXPERIMENT_COLUMNS
from headcount.figures.latex import ROWS_ON_A_PAGE, experiment_table

VERSIONS = '{"python": "3.11.7", "torch": "2.13.0"}'
HEADS = {"N": "$N$", "d": "$d$", "d_h": "$d_h$", "H": "$H$"}


def made_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as `results` gives them: its columns and types, what is not said is missing."""
    table = pd.DataFrame(rows, columns=list(EXPERIMENT_COLUMNS))
    text = (*TEXT_COLUMNS, "tier", "series", "axis")
    whole = (*WHOLE_COLUMNS, "mlp_width", "axis_value", "plotted_parameters", "num_missing", "num_failed")
    return table.astype({name: "string" if name in text else "Int64" if name in whole else "float64" for name in table.columns})


def point(heads: int, **changes: Any) -> list[dict[str, Any]]:
    """Trained, published and bound row of one point."""
    common = {"experiment": "exp_1", "vocab_size": 50, "seq_len": 2, "embed_dim": 10, "head_dim": 10, "num_heads": heads,
              "num_layers": 1, "mlp_width": 0, "num_associations": 2500, "tier": "paper", "series": "d = 10", "axis": "num_heads",
              "axis_value": heads, "num_missing": 0, "num_failed": 0}
    trained = {"kind": "trained", "name": "adam", "variant": "notebook", "draw_accuracy": 0.5063, "draw_accuracy_low": 0.4942,
               "draw_accuracy_high": 0.5184, "accuracy": 0.431, "accuracy_low": 0.42, "accuracy_high": 0.442, "num_models": 5,
               "num_diverged": 0, "nominal_parameters": 5410, "versions": VERSIONS, "source": "Adam on the schedule"}
    published = {"kind": "published", "name": "paper", "variant": "notebook", "draw_accuracy": 0.5061}
    bound = {"kind": "bound", "name": "corollary_1", "accuracy": 0.0672}
    return [common | row | changes for row in (trained, published, bound)]


def bodies(latex: str) -> list[list[str]]:
    """The cells of every row of every table, after checking that the document is whole."""
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    bare = re.sub(r"\\(?:[\\{}$&#_%])", "", latex)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    assert latex.isascii() and not set(bare) & set("#%~^<>|")
    for piece in bare.split("$")[::2]:  # outside of mathematics
        assert "_" not in piece
    found = []
    for columns, inside in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", latex, re.DOTALL):
        assert [inside.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        lines = [line for line in inside.split("\n") if line and "rule" not in line]
        for line in lines:
            assert line.endswith(r" \\")
            cells = [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]
            assert len(cells) == len(columns)
            found.append(cells)
    assert len(re.findall(r"\\caption", latex)) == len(re.findall(r"\\label", latex)) == latex.count(r"\begin{table}")
    return found


def test_one_row_says_all() -> None:
    latex = experiment_table(made_of([*point(6, draw_accuracy_low=np.nan, draw_accuracy_high=np.nan), *point(11)]))
    assert bodies(latex) == [
        [*HEADS.values(), "param.", "draws", "table", "published", "Cor.\\,1"],
        ["$50$", "$10$", "$10$", "$6$", "$5{,}410$", "$0.506$", r"$0.431 \pm 0.011$", "$0.5061$", "$0.067$"],
        ["$50$", "$10$", "$10$", "$11$", "$5{,}410$", r"$0.506 \pm 0.012$", r"$0.431 \pm 0.011$", "$0.5061$", "$0.067$"],
    ]
    for part in (r"exp\_1, paper tier, notebook variant, 5 models per point", "$N = 50$", "$2{,}500$ associations", r"95\%",
                 "python 3.11.7, torch 2.13.0"):
        assert part in latex
    assert "converged" not in latex


def test_layers_and_networks_get_columns_where_there_are_any_and_no_bound() -> None:
    latex = experiment_table(made_of([*point(1), *point(1, mlp_width=40, series="MLP, d = 10"), *point(6)]))
    header, plain, network, _ = bodies(latex)
    assert "MLP" in header and "$L$" not in header
    assert plain[-1] == "$0.067$" and network[-1] == "--" and network[header.index("MLP")] == "$40$"
    header, *rows = bodies(experiment_table(made_of([*point(1, num_layers=3), *point(5, num_layers=3)])))
    assert header[4] == "$L$" and all(row[4] == "$3$" and row[-1] == "--" for row in rows)


def test_what_is_missing_is_a_dash_and_counted() -> None:
    nothing = {"num_models": 0, "num_missing": 4, "num_failed": 1, "nominal_parameters": None}
    nothing |= {f"{name}{end}": np.nan for name in ("draw_accuracy", "accuracy") for end in ("", "_low", "_high")}
    latex = experiment_table(made_of([*point(1), *point(6, **nothing)[:1]]))
    assert bodies(latex)[2][4:] == ["--"] * 5
    assert "4 models missing, 1 models failed" in latex and "5 models per point" in latex


def test_smoke_runs_say_so_and_what_is_cut() -> None:
    latex = experiment_table(made_of(point(1, tier="smoke", num_models=2, source="Adam on it; 2 points a curve, 8 steps")))
    assert "Not converged." in latex and "Cut: 2 points a curve, 8 steps." in latex and "2 models per point" in latex


@pytest.mark.parametrize("count", [ROWS_ON_A_PAGE, ROWS_ON_A_PAGE + 1, 77])
def test_long_tables_are_split_into_pages(count: int) -> None:
    latex = experiment_table(made_of([row for heads in range(count) for row in point(heads)]))
    parts = -(-count // ROWS_ON_A_PAGE)
    rows = bodies(latex)
    assert latex.count(r"\begin{table}") == parts and len(rows) == count + parts
    assert [row[3] for row in rows if row[3] != "$H$"] == [f"${heads}$" for heads in range(count)]
    assert len(set(re.findall(r"\\label\{(.*?)\}", latex))) == parts


def test_tables_that_are_none_are_refused_in_one_line() -> None:
    table = made_of(point(1))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: experiment_table(table.drop(columns="tier")), "lacks the columns tier"),
        (lambda: experiment_table(table.iloc[:0]), "no rows"),
        (lambda: experiment_table(pd.concat([table, table])), "2 trained rows for one point of 'd = 10'"),
        (lambda: experiment_table(made_of([*point(1), *point(1, vocab_size=70)])), "2 settings"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)


# A table's text columns are UTF-8, which has no lone surrogates: `results` can't hand them over either.
TEXTS = st.text(
    st.one_of(st.sampled_from("\\{}$&#_%~^<>|\"'`\n\t é∞"), st.characters(exclude_categories=["Cs"])), max_size=12
)
NUMBERS = st.one_of(st.none(), st.floats(0, 1))


TOLD = ("experiment", "tier", "series", "variant", "versions", "source")


@given(
    texts=st.fixed_dictionaries({name: TEXTS for name in TOLD}),
    points=st.lists(
        st.tuples(st.integers(0, 10**6), NUMBERS, NUMBERS, st.integers(1, 4), st.integers(0, 3)),
        min_size=1, max_size=50, unique_by=lambda drawn: (drawn[0], *drawn[3:]),
    ),
)
@example(texts=dict.fromkeys(TOLD, "\\end{table}%"), points=[(1, None, None, 1, 0)])
@example(texts=dict.fromkeys(TOLD, "x; \\$\n"), points=[(1, 0.5, None, 1, 0)])
def test_whatever_the_results_say_the_document_is_whole(
    texts: dict[str, str], points: list[tuple[int, float | None, float | None, int, int]]
) -> None:
    rows = [
        row
        for heads, accuracy, half, layers, width in points
        for row in point(heads, draw_accuracy=accuracy, accuracy_high=half, num_layers=layers, mlp_width=width, **texts)
    ]
    found = bodies(experiment_table(made_of(rows)))
    assert sum(row[3] != "$H$" for row in found) == len(points)
