"""`headcount landscape`: what it writes and says, what it refuses, and what its figure shows."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from typer.testing import CliRunner, Result

from empirical import landscape as module
from empirical.landscape import LandscapeSpec, landscape, landscape_table
from headcount._landscape import ratios
from headcount.cli import app
from headcount.figures.landscape import MODELS, figure

SPEC = LandscapeSpec(vocab_size=4, embed_dim=2, table_seeds=(0, 1), num_models=2)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["landscape", *arguments], prog_name="headcount")


def work(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """In place of the real cells: everything is held from two heads on."""
    kind = {"solver": "solved", "adam": "trained"}.get(spec["method"], "built")
    return [
        {
            "kind": kind, "name": spec.get("name", spec["method"]), "num_heads": heads, "held": min(16, 8 * heads),
            "certified": min(16, 8 * heads),
            "seconds": 0.1 * heads, "bits_per_effective_parameter": 0.3 * heads, "table_seed": spec["table_seed"],
            "model_seed": model, "source": "a test",
        }
        for heads in ([spec["num_heads"]] if "num_heads" in spec else [1, 6 + spec["table_seed"]])
        for model in range(spec.get("num_models", 1))
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_real_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_cell", work)
    monkeypatch.setattr(module, "shipped_cells", dict)


def test_it_writes_three_files_and_prints_the_headline(tmp_path: Path) -> None:
    result = run("--vocab", "4", "--embed-dim", "2", "--out", str(tmp_path / "results"))
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"landscape.csv", "landscape.png", "landscape.pdf", "landscape-cells"}
    for words in ("Heads for everything: 16 associations, N = 4, S = 2, d = 2, d_h = 2", "block_staircase", "solved / trained"):
        assert words in result.output
    table = pd.read_csv(tmp_path / "results" / "landscape.csv")
    assert set(table["kind"]) == {"bound", "built", "solved", "trained"}


def test_the_same_command_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("--vocab", "4", "--embed-dim", "2", "--out", str(tmp_path))
    monkeypatch.setattr(module, "run_cell", None)
    second = run("--vocab", "4", "--embed-dim", "2", "--out", str(tmp_path))
    assert first.exit_code == second.exit_code == 0, second.output
    assert first.output == second.output


def test_an_interruption_keeps_what_is_done_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def interrupted(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(spec)
        return work(spec)

    monkeypatch.setattr(module, "run_cell", interrupted)
    result = run("--vocab", "4", "--embed-dim", "2", "--out", str(tmp_path))
    assert result.exit_code == 130
    assert f"finished parts are kept in {tmp_path}" in result.stderr
    assert len(list((tmp_path / "landscape-cells").iterdir())) == 3
    assert not (tmp_path / "landscape.csv").exists()


def test_quick_is_a_smaller_shape(tmp_path: Path) -> None:
    result = run("--quick", "--out", str(tmp_path))
    assert result.exit_code == 0
    assert "N = 10, S = 2, d = 2, d_h = 2" in result.output


def test_a_record_is_written_of_fresh_results_only(tmp_path: Path) -> None:
    common = ("--vocab", "4", "--embed-dim", "2", "--out", str(tmp_path), "--record", str(tmp_path / "record.csv"))
    refused = run(*common)
    assert refused.exit_code == 2
    assert "--record" in refused.stderr and "--fresh" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert run(*common, "--fresh").exit_code == 0
    kept = pd.read_csv(tmp_path / "record.csv")
    assert set(kept["name"]) == {"block_staircase", "block_staircase_search", "readout", "column_generation", "solver", "adam"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vocab", "1"], "--vocab"),
        (["--vocab", "500"], "vocab_size = 500"),
        (["--embed-dim", "2", "--head-dim", "3"], "head_dim = 3"),
        (["--num-tables", "0"], "--num-tables"),
        (["--out", "/dev/null"], "--out"),
        (["--out", "no/such/folder"], "--out"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_figure_shows_every_row_where_it_is() -> None:
    table = landscape(SPEC, budget_seconds=1e9).table
    made = figure(table)
    held = made.axes[0]
    drawn = {line.get_gid(): line.get_xydata() for line in held.get_lines()}
    for name in MODELS:
        rows = table[table["name"].eq(name) & table["kind"].ne("bound")]
        if name == "adam":
            means = rows.groupby("num_heads")["held"].mean()
            np.testing.assert_array_equal(drawn[name][:, 1], means.to_numpy(float))
        else:
            expected = rows[["num_heads", "held"]].to_numpy(float)
            assert sorted(map(tuple, drawn[name])) == sorted(map(tuple, expected)), name
    bounds = table[table["kind"].eq("bound")].groupby("name")["held"].min()
    assert {name for name in bounds.index if name in drawn} == set(bounds.index[bounds < held.get_ylim()[1]])
    assert {"corollary_1", "planar_count", "threshold", "U0"} <= set(drawn)
    assert any(isinstance(part, PolyCollection) for part in held.collections)  # the interval of the trained models
    for axes in made.axes:
        assert axes.get_xlabel() and axes.get_ylabel()
    labels = [text.get_text() for text in made.legends[0].get_texts()]
    assert len(labels) == len(set(labels))
    assert all(re.match("bound|ceiling|built|solved|trained|large marker", label) for label in labels)


def test_a_large_marker_is_the_median_over_tables() -> None:
    table = landscape(LandscapeSpec(4, 2, table_seeds=(0, 1, 2)), budget_seconds=1e9).table
    lines = {line.get_gid(): line.get_xydata() for line in figure(table).axes[0].get_lines()}
    assert lines["readout everything"].tolist() == [[7.0, 16.0]]  # 6, 7 and 8 heads


def test_tables_that_did_not_get_there_count_as_more_heads() -> None:
    def rows(table: int, heads: int, held: int) -> dict[str, Any]:
        return {
            "kind": "solved", "name": "solver", "num_heads": heads, "held": held, "num_associations": 16, "vocab_size": 4,
            "seq_len": 2, "embed_dim": 2, "table_seed": table, "model_seed": 0, "seconds": 1.0,
            "bits_per_effective_parameter": 1.0,
        }  # fmt: skip

    some = landscape_table([rows(0, 11, 16), rows(1, 12, 16), rows(2, 13, 16), rows(3, 13, 15), rows(4, 13, 15)])
    lines = {line.get_gid(): line.get_xydata() for line in figure(some).axes[0].get_lines()}
    assert lines["solver everything"].tolist() == [[13.0, 16.0]]
    few = landscape_table([rows(0, 11, 16), rows(1, 12, 16), rows(2, 13, 15), rows(3, 13, 15), rows(4, 12, 15)])
    assert "solver everything" not in {line.get_gid() for line in figure(few).axes[0].get_lines()}


def test_a_table_that_is_no_landscape_is_refused() -> None:
    table = landscape(SPEC, budget_seconds=1e9).table
    with pytest.raises(ValueError, match="table lacks the columns held"):
        figure(table.drop(columns="held"))
    with pytest.raises(ValueError, match="table has no rows"):
        figure(table.iloc[:0])
    with pytest.raises(ValueError, match="2 settings"):
        figure(table.assign(vocab_size=[4] * (len(table) - 1) + [5]))


def test_ratios_name_the_best_of_each_kind() -> None:
    def row(kind: str, name: str, heads: float, most: int) -> dict[str, Any]:
        shown = {"shown": 99, "heads_shown": 50.0 if kind == "trained" else float("nan")}
        return {"kind": kind, "name": name, "heads": heads, "most_tried": most, "transformer": name != "mlp", **shown}

    built = [row("built", "a", 30, 30), row("built", "b", 24, 30), row("built", "mlp", 20, 30)]
    reached = pd.DataFrame([*built, row("solved", "s", 11, 13), row("trained", "t", 44, 60)])
    assert ratios(reached) == ["built / trained: b 24 heads / Adam 44 = 0.55", "solved / trained: s 11 heads / Adam 44 = 0.25"]
    assert ratios(reached.iloc[:0]) == []
    never = pd.DataFrame([row("solved", "s", 20, 31), row("trained", "t", float("nan"), 60)])
    assert ratios(never) == [
        "solved / trained: s 20 heads; Adam with 60 holds everything in fewer than half of its models: ratio below 0.33",
        "  Adam holds the 99 that its draws contain with 50 heads: 0.40",
    ]
