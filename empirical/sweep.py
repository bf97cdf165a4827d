"""Sweeps: many cells computed into a store, resumable at any time, by this process or by dask workers."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from empirical._sweep_compute import compute, compute_into
from empirical._sweep_file import Sweep, SweepFileError, read_sweep
from empirical._sweep_plan import Queue, SweepState, Tally
from empirical.cells import Cell, CellResult
from empirical.store import Store
from theory.shapes import checked_integer

__all__ = ["Engine", "Sweep", "SweepFileError", "SweepState", "compute", "compute_into", "read_sweep", "run"]

Engine = Literal["local", "dask"]
ENGINES: tuple[Engine, ...] = ("local", "dask")
WAIT_SECONDS = 0.25


def run(
    cells: Sequence[Cell],
    store: Store,
    *,
    engine: Engine = "local",
    scheduler: str | None = None,
    threads: int | None = None,
    progress: Callable[[SweepState], None] | None = None,
    retry_failed: bool = False,
) -> SweepState:
    """Compute those of the cells that the store does not have yet, and put each result there as soon as it is there.

    The numbers are the same bit for bit on one machine's CPU whichever engine computes, with whatever else, and however often
    the run was interrupted. Several calls at once on the same store, in several processes, share the cells: each is claimed by
    one of them, and what a killed process had claimed is taken up again. A call ends when all its cells are settled, those that
    others compute among them.

    Ctrl-C gives the claims back and raises KeyboardInterrupt within two seconds; what was finished is stored. A failed cell
    keeps its reason in the store and does not stop the others.

    Args:
        cells: any cells; equal ones count once.
        store: where results go.
        engine: "local" (this process) or "dask" (workers; the extra `sweep`). With "dask" this process alone writes to the store.
        scheduler: address of a dask scheduler, "tcp://host:8786"; None starts two worker processes of one thread each here.
        threads: that torch uses meanwhile, engine "local" only; None leaves their number as it is.
        progress: called with the state after every result and about twice a second in between, in this thread. What it
            raises ends the run.
        retry_failed: try cells again that failed in an earlier run.

    Returns:
        The state at the end; `failed` counts what remains.

    Raises:
        ValueError: an argument outside what is said here, or dask missing; StoreError from the store.
        ConnectionError: the dask scheduler went away; what was finished is stored.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine = {engine!r}: must be one of {', '.join(map(repr, ENGINES))}")
    if scheduler is not None and engine != "dask":
        raise ValueError(f"scheduler = {scheduler!r}: legal together with engine = 'dask' only")
    if scheduler is not None and not re.search(r":[0-9]+$", scheduler):  # dask itself takes others for something else
        raise ValueError(f"scheduler = {scheduler!r}: must be an address with a port, like 'tcp://host:8786'")
    if threads is not None:
        threads = checked_integer("threads", threads, 1)
        if engine == "dask":
            raise ValueError(f"threads = {threads}: legal together with engine = 'local' only; dask workers have their own")
    queue = Queue(cells, store, retry_failed)
    tally = Tally(queue, progress)
    if not queue.unsettled():
        return tally.tell()
    if engine == "dask":
        from empirical import _sweep_dask

        with _sweep_dask.workers(scheduler) as client, store.keep_claims():
            _sweep_dask.run_tasks(client, queue, tally)
    else:
        with torch_threads(threads) as number, store.keep_claims():
            _run_local(queue, tally, number)
    return tally.tell()


def _run_local(queue: Queue, tally: Tally, threads: int) -> None:
    tally.begin()
    while True:
        chunk = queue.take_share(threads)
        if chunk:
            tally.tell()
            _run_chunk(chunk, queue, tally)
        elif queue.unsettled():  # others are at the rest
            tally.under_way(0.0)
            time.sleep(WAIT_SECONDS)
        else:
            return


def _run_chunk(chunk: Sequence[Cell], queue: Queue, tally: Tally) -> None:
    whole, delivered = sum(queue.work[cell.key] for cell in chunk), 0.0
    left = {cell.key for cell in chunk}

    def deliver(results: list[CellResult]) -> None:
        nonlocal delivered
        delivered += sum(queue.work[result.cell.key] for result in results)
        left.difference_update(result.cell.key for result in results)
        tally.put(results)

    compute_into(chunk, deliver, lambda fraction: tally.under_way(max(0.0, fraction * whole - delivered)))
    if left:  # they stay claimed by this process, so that it would wait for itself
        raise RuntimeError(f"{len(left)} of {len(chunk)} cells came to no result")


@contextmanager
def torch_threads(threads: int | None) -> Iterator[int]:
    """Torch set to so many threads (None: as it is) while it is open."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
