"""What a dask worker does with a chunk: JSON in, JSON out, one thread for each task."""

import json
from dataclasses import asdict

import torch

from empirical._origin import origin_here
from empirical._store_rows import RESULT_COLUMNS
from empirical._sweep_compute import compute_into
from empirical.cells import Cell, CellResult


def compute_chunk(specs: str) -> str:
    """Results of cells of one company, given by their specifications, with where they were computed."""
    cells = [Cell.from_spec(spec) for spec in json.loads(specs)]
    torch.set_num_threads(1)  # the worker's threads are dask's to give
    found: list[CellResult] = []
    compute_into(cells, found.extend)
    results = [{"key": result.cell.key, **{name: getattr(result, name) for name in RESULT_COLUMNS}} for result in found]
    return json.dumps({"results": results, "origin": asdict(origin_here(cells[0].device))})
