"""Importing theory stays cheap: nothing heavy comes along, and little time passes beyond numpy and scipy."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "sympy", "hypothesis", "pandas", "matplotlib", "skdim", "sklearn")


def _run(code: str) -> str:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_theory_brings_nothing_heavy() -> None:
    loaded = _run(
        "import sys, theory, theory.memorization, theory.shapes, theory.tasks, theory.manifolds, theory.manifold_rates\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    assert loaded == ""


def test_import_constructions_brings_nothing_heavy_but_torch() -> None:
    heavy = tuple(name for name in HEAVY if name != "torch")
    assert _run(f"import sys, constructions.manifolds\nprint(*[name for name in {heavy} if name in sys.modules])") == ""


def test_import_theory_takes_less_than_half_a_second_beyond_numpy_and_scipy() -> None:
    code = "import time, numpy, scipy\nstart = time.process_time()\nimport theory\nprint(time.process_time() - start)"
    assert min(float(_run(code)) for _ in range(2)) < 0.5
