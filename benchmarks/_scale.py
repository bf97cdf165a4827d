"""What the scale benchmarks share: rows built in processes of their own, forward passes in words, and the slope of time."""

import json
import subprocess
import sys

import numpy as np
from scipy import stats


def in_own_process(module: str, *arguments: object) -> dict[str, object]:
    """What `python -m MODULE --one ARGUMENTS` prints: one row, of a process with nothing else in its memory."""
    command = [sys.executable, "-m", module, "--one", json.dumps(arguments)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def describe(right: int, asked: int, margin: float, held: int) -> str:
    """A forward pass over all that is held, or over a sample of it."""
    if asked == held:
        return f"{right} of all {asked} right, margin {margin:.3g}"
    wrong_at_most = stats.beta.ppf(0.95, asked - right + 1, right) if right else 1.0
    return f"{right} of a sample of {asked} right, margin {margin:.3g}, at most {wrong_at_most:.2%} wrong (95%)"


def slope(runs: list[dict[str, object]], time: str) -> str:
    """Log-log slope of a time against T0 with its 95% interval, and the times."""
    sizes, seconds = ([float(run[name]) for run in runs] for name in ("T0", time))
    fit = stats.linregress(np.log(sizes), np.log(seconds))
    half = stats.t.ppf(0.975, len(sizes) - 2) * fit.stderr
    times = ", ".join(f"{int(size):,}: {second:.3g} s" for size, second in zip(sizes, seconds, strict=True))
    return f"log-log slope {fit.slope:.3f} +- {half:.3f} (95%), {times}"
