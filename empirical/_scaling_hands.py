"""Thousands of starts on two processors: dealt out to two threads, always the same ones to each.

numpy lets go of the interpreter's lock inside its loops, so that two threads take half the time of one. Who gets which start
depends on nothing but its place, so results are the same on one processor.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from threading import Event

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from empirical._scaling_engine import Solutions, minimise
from empirical._scaling_forms import Form

HANDS = 2
FEWEST = 64
"""Fewer starts are not worth a second thread."""


class _Stopped(Exception):
    """The caller gave up."""


def minimise_by_hands(
    form: Form,
    log_n: Float[ndarray, " points"],
    log_d: Float[ndarray, " points"],
    log_loss: Float[ndarray, " points"],
    starts: Float[ndarray, "batch parameters"],
    *,
    delta: float,
    tolerance: float,
    progress: Callable[[int, int], None] | None = None,
) -> Solutions:
    """`minimise` of all starts, in their order. `progress` is called in threads, with (starts done, starts)."""
    if len(starts) < FEWEST:
        return minimise(form, log_n, log_d, log_loss, starts, delta=delta, tolerance=tolerance, progress=progress)
    done, given_up = [0] * HANDS, Event()

    def hand(place: int) -> Solutions:
        def told(own: int, _all: int) -> None:
            if given_up.is_set():
                raise _Stopped
            done[place] = own
            if progress is not None:
                progress(sum(done), len(starts))

        return minimise(form, log_n, log_d, log_loss, starts[place::HANDS], delta=delta, tolerance=tolerance, progress=told)

    with ThreadPoolExecutor(HANDS) as pool:
        try:
            parts = [future.result() for future in [pool.submit(hand, place) for place in range(HANDS)]]
        except BaseException:  # Ctrl-C too: the threads end at the next start that does
            given_up.set()
            raise
    whole = {}
    for field in fields(Solutions):
        columns = [getattr(part, field.name) for part in parts]
        whole[field.name] = np.empty((len(starts), *columns[0].shape[1:]), dtype=columns[0].dtype)
        for place, column in enumerate(columns):
            whole[field.name][place::HANDS] = column
    return Solutions(**whole)
