"""`headcount manifold train`: which cells, in which processes, and what is written in the end."""

import json

import pandas as pd
import pytest

from empirical.manifold_runs import TIERS, expected_seconds
from headcount import _manifold_training as training
from headcount._run_bundles import bundles


def test_every_cell_is_in_one_bundle_and_no_bundle_is_a_jobs_share_too_long():
    cells = TIERS["quick"]
    made = bundles(cells, 2, expected_seconds, training.BUNDLE_SECONDS)
    assert sorted(cell.name for bundle in made for cell in bundle.runs) == sorted(cell.name for cell in cells)
    longest = max(map(expected_seconds, cells))
    assert all(sum(map(expected_seconds, bundle.runs)) <= max(longest, training.BUNDLE_SECONDS) for bundle in made)
    assert len({bundle.name for bundle in made}) == len(made)


def test_a_name_that_is_no_cell_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^'circle': is no cell of tier smoke; [^\n]*--list names all\)$"):
        training.chosen_cells(["circle"], "smoke")
    first = TIERS["smoke"][0]
    assert training.chosen_cells([first.name, first.name], "smoke") == (first,)


def test_cells_that_are_there_are_not_trained_again(tmp_path, monkeypatch, capsys):
    chosen = [cell for cell in TIERS["smoke"] if cell.experiment == "model"]
    names, out = [cell.name for cell in chosen], tmp_path / "new" / "manifold"
    monkeypatch.setattr(training, "BUILT_GRIDS", {"circle": (8, 16, 32)})
    arguments = {"names": names, "tier": "smoke", "jobs": 1, "list_only": False, "out": out}

    def fake(cell, folder, progress):
        progress(cell.steps, cell.steps, 1.0)
        size = cell.model(0).num_parameters
        rows = [{
            "kind": "trained", "experiment": "model", "manifold": "circle", "dimension": 1, "ambient_dim": cell.ambient_dim,
            "target": "smooth", "beta": None, "attention": "softmax", "width": cell.width, "layers": 2, "parameters": size,
            "samples": 0, "noise": 0.0, "seed": seed, "mse": (1 + seed) / size / (1 + bool(cell.check)), "target_variance": 0.6,
            "steps": cell.steps, "check": cell.check, "failure": "",
        } for seed in cell.seeds]  # fmt: skip
        return training.CellStore(folder).put(cell.spec, rows).rows

    monkeypatch.setattr(training, "run_cell", fake)
    training.train(**arguments)
    monkeypatch.setattr(training, "run_cell", lambda *_: pytest.fail("trained again"))
    training.train(**arguments)
    exponents = pd.read_csv(out / "smoke" / training.EXPONENTS_FILE)
    assert list(exponents["kind"]) == ["trained", "built"] and exponents["exponent"][0] == pytest.approx(1)
    assert "optimisation limits it" in exponents["reason"][0] and "optimisation limits it" in capsys.readouterr().out
    table = pd.read_csv(out / "smoke" / training.TABLE_FILE)
    assert len(table) == sum(len(cell.seeds) for cell in chosen) + 3
    kept = [json.loads(path.read_text())["spec"]["name"] for path in (out / "smoke").glob("manifold-*.json")]
    assert sorted(kept) == sorted(names)


def test_smooth_functions_are_built_with_hats_and_rough_ones_with_steps(monkeypatch):
    monkeypatch.setattr(training, "BUILT_GRIDS", {"circle": (4, 8)})
    kinds = [("smooth", float("inf")), ("weierstrass", 0.75)]
    trained = pd.DataFrame([
        {"experiment": "model", "manifold": "circle", "ambient_dim": 3, "target": target, "beta": beta} for target, beta in kinds
    ])  # fmt: skip
    built = training.with_built(trained).iloc[len(trained) :]
    assert list(zip(built["target"], built["degree"], strict=True)) == [("smooth", 1)] * 2 + [("weierstrass", 0)] * 2


def test_the_plan_says_what_the_part_on_text_costs(tmp_path, capsys):
    usual = {"tier": "quick", "jobs": 1, "list_only": True, "out": tmp_path, "corpus_results": tmp_path}
    training.train(names=[], **usual)
    assert "the part on text after them: up to 14 processor minutes more" in capsys.readouterr().out
    training.train(names=[TIERS["quick"][0].name], **usual)
    assert "text" not in capsys.readouterr().out
