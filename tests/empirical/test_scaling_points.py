"""Tables of (N, D, loss) as people have them: read right, or refused in one line; no row is lost without a word."""

from math import log

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.scaling_points import ScalingPoints, parse_columns, parse_units, points_from_table, read_points

GOOD = "N,D,L\n1e8,2e9,3.1\n2e8,4e9,2.9\n4e8,8e9,2.7\n"


def read(tmp_path, text, columns=None, *, name="points.csv", **told):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_points(path, None if columns is None else parse_columns(columns), **told)


def test_plain_table(tmp_path):
    points = read(tmp_path, GOOD)
    assert points.parameters.tolist() == [1e8, 2e8, 4e8] and points.tokens.tolist() == [2e9, 4e9, 8e9]
    assert points.loss.tolist() == [3.1, 2.9, 2.7] and points.dropped == () and points.runs is None
    np.testing.assert_array_equal(points.compute, 6 * points.parameters * points.tokens)
    assert points.notes == ("columns: N = 'N', D = 'D', L = 'L'",)


def test_names_with_spaces_commas_and_other_columns(tmp_path):
    text = "x,\"Model Size, total\",Training FLOP,hex_color,loss\n1,1e8,1.2e18,#fff,3.1\n2,2e8,4.8e18,#eee,2.9\n"
    points = read(tmp_path, text, "N=Model Size, total,C=Training FLOP,L=loss")
    np.testing.assert_allclose(points.tokens, [2e9, 4e9], rtol=1e-15)
    assert "D = C / (6 N)" in points.notes


def test_parameters_from_compute_and_tokens(tmp_path):
    points = read(tmp_path, "C,D,loss\n1.2e18,2e9,3\n")
    np.testing.assert_allclose(points.parameters, [1e8], rtol=1e-15)


@pytest.mark.parametrize("text", [
    "\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), GOOD + "\n\n", GOOD.replace("N,D,L", " n , Tokens , LOSS "),
])  # fmt: skip
def test_harmless_differences(tmp_path, text):
    assert read(tmp_path, text).num_points == 3


def test_tab_separated(tmp_path):
    assert read(tmp_path, GOOD.replace(",", "\t"), name="points.tsv").num_points == 3


def test_rows_that_no_law_can_use_are_listed(tmp_path):
    bad = [
        ",,", ",1e9,3", "1e8,n/a,3", "1e8,1e9,nan",
        "inf,1e9,3", "1e8,1e9,0", "1e8,1e9,-2", "1e8,0,3", "1e8,1e9,-inf", "-1e8,1e9,3",
    ]  # fmt: skip
    points = read(tmp_path, GOOD + "\n".join(bad) + "\n")
    assert points.num_points == 3
    assert [row.line for row in points.dropped] == list(range(5, 5 + len(bad)))
    assert points.dropped[0].reason == "N is missing" and points.dropped[5].reason == "L = 0 is not finite and > 0"
    assert points.select(np.array([True, False, True])).dropped == points.dropped


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("", None, "is empty"),
        ("N,D,L\n", None, "none of 0 rows"),
        ("N,D,L\n1e8,1e9,0\n", None, "none of 1 rows"),
        ("N,D,L\n1e8,1e9\n", None, "line 2 has 2 cells, the header 3"),
        ("N,D,L\n70B,1.4e12,2\n", None, "line 2, column 'N': '70B' is no number"),
        ("N,D,L\n1e8,1_000,2\n", None, "'1_000' is no number"),
        ('N,D,L\n"1,000,000",1e9,2\n', None, "'1,000,000' is no number"),
        ("N,D,L\nseventy,1e9,2\n", None, "'seventy' is no number"),
        ("N,D,D,L\n1,1,1,1\n", None, "D may be 'D' or 'D'"),
        ("N,D,loss,L\n1,1,1,1\n", None, "L may be 'loss' or 'L'"),
        ("a,b,c\n1,2,3\n", None, "L and two of N, D, C are needed"),
        (GOOD, "N=N,D=D,L=nope", "there is no column 'nope'"),
        (GOOD, "N=N,D=N,L=L", "'N' is told twice"),
        (GOOD, "N=N,N=D,L=L", "N is there twice"),
        (GOOD, "X=N", "ROLE=NAME is legal"),
        (GOOD, "N=", "ROLE=NAME is legal"),
        ("N,D,L\n70e9,1.4e12,2\n0.07,1.4e12,3\n", None, "in no one unit"),
        ("N,D,L\n7,1.4e12,2\n0.07,1.4e12,3\n", None, "tell the unit"),
        (GOOD + "2e2,1e9,3\n", None, "in line 5 200 and next to it in line 2 1e+08, which are in no one unit"),
        (GOOD.replace(",", ";"), None, "seems to be separated by semicolons"),
        (GOOD.replace(",", "\t"), None, "seems to be separated by tabs"),
        ("N,D,L\n7e9,1400,2\n7e9,300,3\n", None, "tell the unit"),
        (b"N,D,L\n1e8,1e9,\xff\n", None, "is no table of UTF-8 text"),
        (b"N,D,L\n1e8,1e9,2\x00\n", None, "is no number"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, text, columns, words):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, text, columns)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_units_are_told(tmp_path):
    text = "N,D,L\n70,1400,2\n0.07,1.4,3\n"
    points = read(tmp_path, text, units=parse_units("N=billions,D=billions,L=bits"))
    assert points.parameters.tolist() == [70e9, 0.07e9] and points.tokens.tolist() == [1400e9, 1.4e9]
    assert points.loss.tolist() == [2 * log(2), 3 * log(2)]
    assert "N in billions" in points.notes
    days = read(tmp_path, "N,C,L\n1e9,2,3\n", units={"C": "PF-days"})
    np.testing.assert_allclose(days.tokens, [2 * 8.64e19 / 6e9], rtol=1e-15)
    assert read(tmp_path, "N,D,L\n1e3,1e9,3\n1e9,1e9,2\n", units={"N": "parameters"}).num_points == 2
    assert read(tmp_path, "N,D,L\n50,2000,3\n", units=parse_units("N=parameters,D=tokens")).tokens.tolist() == [2000]
    for wrong in ("N=dozens", "L=N", "run=x", "N"):
        with pytest.raises(ValueError, match="legal"):
            parse_units(wrong)


def test_mixed_units_are_refused_even_where_a_unit_is_told(tmp_path):
    with pytest.raises(ValueError, match="no one unit"):
        read(tmp_path, "N,D,L\n70,1e9,2\n7e9,1e9,2\n", units={"N": "millions"})


def test_compute_that_disagrees_is_said(tmp_path):
    assert read(tmp_path, "N,D,C,L\n1e8,2e9,1.2e18,3\n").warnings == ()
    (said,) = read(tmp_path, "N,D,C,L\n1e8,2e9,2.4e18,3\n").warnings
    assert said.startswith("C is 2 times 6 N D, furthest off in line 2")
    (said,) = read(tmp_path, "N,D,C,L\n1e8,2e9,1.2e18,3\n1e8,,1e18,3\n1e8,2e9,6e18,3\n").warnings
    assert said.startswith("C is 1 to 5 times 6 N D, furthest off in line 4")


def test_runs(tmp_path):
    points = read(tmp_path, "N,D,L,run\n1e8,2e9,3,a\n1e8,,3,a\n1e8,2e10,2.5,b\n")
    assert points.runs == ("a", "b") and points.without(np.array([True, False])).runs == ("b",)
    assert list(points.table()["run"]) == ["a", "b"]


def test_a_hundred_thousand_rows(tmp_path):
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"N": 10 ** generator.uniform(7, 10, 100_000), "D": 10 ** generator.uniform(9, 12, 100_000), "L": 2.5})
    table.to_csv(tmp_path / "many.csv", index=False)
    points = read_points(tmp_path / "many.csv")
    np.testing.assert_array_equal(points.parameters, table["N"].to_numpy())
    assert points.num_points == 100_000


def test_pandas_tables_count_rows_from_one():
    table = pd.DataFrame({"N": [1e8, None, 2e8], "D": [1e9, 2e9, np.nan], "L": [3, 2, 1]})
    points = points_from_table(table)
    assert points.num_points == 1 and [row.line for row in points.dropped] == [2, 3]


@given(st.lists(st.tuples(*[st.floats(1e9, 9e11)] * 2, st.floats(1e-3, 50)), min_size=1, max_size=20))
def test_numbers_come_back_to_the_bit(rows):
    table = pd.DataFrame(rows, columns=["N", "D", "L"])
    points = points_from_table(table)
    assert points.parameters.tolist() == list(table["N"]) and points.loss.tolist() == list(table["L"])


@pytest.mark.bad_input
@pytest.mark.parametrize(("arrays", "words"), [
    (([1e8], [1e9, 1e9], [3.0]), "as many of each"), (([], [], []), "at least one number"), (([0.0], [1e9], [3.0]), "> 0"),
    (([1e8], [1e9], [float("nan")]), "loss"),
])  # fmt: skip
def test_points_are_checked(arrays, words):
    with pytest.raises(ValueError, match=words):
        ScalingPoints.of(*arrays)
    points = ScalingPoints.of([1e8, 2e8], [1e9, 1e9], [3.0, 2.0])
    for mask, said in (([True], "shape"), ([False, False], "no true entry")):
        with pytest.raises(ValueError, match=said):
            points.select(np.array(mask))
    with pytest.raises(ValueError, match="read-only"):
        points.loss[0] = 1
