"""How statements on trained transformers are checked: cells of the experiment on the circle are trained anew, with intervals."""

import tempfile
from pathlib import Path

from headcount.claims.claim import Evidence, Inquiry, Interval, Method

TIER = "quick"


def _exponent(inquiry: Inquiry, experiment: str) -> Evidence:
    from empirical.manifold_runs import TIERS, measured_exponents, read_cells, run_cell  # brings pandas and torch's trainer

    cells = [
        cell for cell in TIERS[TIER]
        if (cell.experiment, cell.manifold, cell.target, cell.attention) == (experiment, "circle", "weierstrass", "softmax")
    ]
    with tempfile.TemporaryDirectory(prefix="headcount-") as folder:
        for number, cell in enumerate(cells):
            run_cell(cell, Path(folder) / TIER)
            inquiry.report((number + 1) / len(cells))
        (row,) = measured_exponents(read_cells(folder, TIER)).to_dict("records")
    formula = float(inquiry.formula(int(row["dimension"]), float(row["beta"])))
    size = "samples" if experiment == "data" else "parameters"
    what = f"exponent of the squared error in {size}, circle, Weierstrass {row['beta']:g}"
    interval = Interval(what, float(row["exponent"]), float(row["low"]), float(row["high"]), formula)
    ranges = f"{row['num_sizes']} sizes, {row['num_seeds']} seeds, {cells[0].steps} steps of Adam"
    note = f"{str(row['reason']).rstrip('.')}." if row["reason"] else ""
    return Evidence(Method.MEASUREMENT, ranges, len(cells), interval=interval, note=note)


def data(inquiry: Inquiry) -> Evidence:
    return _exponent(inquiry, "data")


def model(inquiry: Inquiry) -> Evidence:
    return _exponent(inquiry, "model")
