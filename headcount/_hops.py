"""What `headcount hops build`, `recheck` and `probe` do. Everything slow to import is imported here."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from constructions.construction import DTYPES
from constructions.hops import HopCertificate, HopConstruction, MarginReport, certify_hops, margins
from constructions.hops import build as build_hops
from constructions.hops import recheck as recheck_hops
from empirical.hop_errors import drawn_strings, measure_hops
from empirical.hop_probe import probe_model
from empirical.hop_training import TrainedHops, read_run
from headcount import __version__, console
from headcount._output import checked_file
from theory._whole_files import whole_files
from theory.hops import HopTask

WRONG = 1
MOST_TRIED = 32
"""A model that reads k is tried with all up to here, and its largest."""
SEEN = 0.7
"""Least cosine at which a head is said to look at something."""


def build(
    *, num_hops: int | None, max_hops: int | None, vocab_size: int, seq_len: int, recipe: Any, encoding: Any, dtype: str,
    scale: float | None, looped: bool, output: Path, certificate_file: Path | None, strings: int, seed: int,
) -> int:
    """`headcount hops build`; the exit code, 1 when the trial finds a wrong answer or the proof fails."""
    if (num_hops is None) == (max_hops is None):
        raise ValueError("--hops, --max-hops: one of the two is legal")
    checked_file(output, "--output", {})
    if certificate_file is not None:
        checked_file(certificate_file, "--certificate", {"model": output})
        if certificate_file.resolve() == output.resolve():
            raise ValueError(f"--certificate {certificate_file}: is the file of the model itself; another file is legal")
    built = build_hops(
        num_hops, max_hops=max_hops, vocab_size=vocab_size, seq_len=seq_len, recipe=recipe, encoding=encoding,
        dtype=DTYPES[dtype], scale=scale, looped=looped,
    )  # fmt: skip
    certificate = certify_hops(built)
    task = built.task
    neighbours = (False, True) if vocab_size > 1 else (True,)  # whether equal ones may be there
    tried = [hops for hops in range(task.min_hops, task.max_hops + 1) if hops <= MOST_TRIED or hops == task.max_hops]
    trials = [
        measure_hops(built.model, task, hops=tried, num_strings=strings, seed=seed, repeats=repeats) for repeats in neighbours
    ]
    wrong = sum(int(each.wrong.sum() + each.missing_wrong.sum()) for each in trials)
    tokens = sum(int(each.defined.sum() + each.missing.sum()) for each in trials)
    symbols = drawn_strings(task, strings, seed=seed, num_hops=task.max_hops, repeats=neighbours[0])
    report = margins(built, symbols, task.max_hops)
    built.save(output, {"made by": f"headcount {__version__} hops build"})
    if certificate_file is not None:
        certificate.save(certificate_file)
    model = built.model
    console.show(console.facts(f"hop_k, k = {_range(task)}, recipe {built.recipe}", {
        "strings": f"{task.seq_len} of {task.vocab_size} symbols",
        "layers L, heads H, width m": f"{model.num_layers}, {model.num_heads}, {model.embed_dim}",
        "score scale": f"{built.scale:g} ({encoding}, {dtype}); {report.sufficient_scale:g} is enough for all strings, "
        f"{report.scale_seen:.3g} for {report.num_strings} tried",
        "trial": f"{wrong:,} wrong of {tokens:,} answers",
    }))  # fmt: skip
    console.show(_margins(report))
    console.say(f"for all strings: {certificate.text()}")
    console.say(f"MODEL {output}")
    if certificate_file is not None:
        console.say(f"CERTIFICATE {certificate_file}")
    return 0 if certificate.proved and not wrong else WRONG


def recheck(*, certificate_file: Path, model_file: Path) -> int:
    """`headcount hops recheck`; the exit code, 1 when something disagrees."""
    certificate, built = HopCertificate.load(certificate_file), HopConstruction.load(model_file)
    disagreements = recheck_hops(certificate, built)
    for name in disagreements:
        console.say(f"DISAGREES {name}")
    console.say(f"{len(certificate.inequalities)} inequalities computed again from {model_file}: {len(disagreements)} disagree")
    return WRONG if disagreements else 0


def _range(task: HopTask) -> str:
    return str(task.max_hops) if task.min_hops == task.max_hops else f"{task.min_hops}..{task.max_hops}"


def _margins(report: MarginReport) -> Table:
    table = console.frame(
        "Scaled score gaps and leaked attention", "layer", "head", "role", "gap seen", "gap proved", "leak seen", "leak at most",
        left=("role",),
    )  # fmt: skip
    for row in report.rows:
        numbers = (row.gap_seen, row.gap_proved, row.leak_seen, row.leak)
        table.add_row(str(row.layer), str(row.head), row.role, *(console.number(value, ".3g") for value in numbers))
    return table


def load(place: Path) -> HopConstruction | TrainedHops:
    """A file of `hops build`, or the folder of a run of `hops train`. Raises ValueError for a place that is neither."""
    if not place.is_dir():
        return HopConstruction.load(place)
    trained = read_run(place)
    if trained.failure:
        raise ValueError(f"{place}: this run failed ({trained.failure})")
    return trained


def probe(*, model_place: Path, num_hops: int | None, strings: int, seed: int, csv: Path | None) -> None:
    """`headcount hops probe`."""
    loaded = load(model_place)
    if isinstance(loaded, HopConstruction):
        task, kind = loaded.task, f"built, recipe {loaded.recipe}"
    else:
        task, kind = loaded.run.task, f"trained, {loaded.steps_done:,} of {loaded.run.steps:,} steps"
    chosen = task.max_hops if num_hops is None else num_hops
    if not task.min_hops <= chosen <= task.max_hops:
        raise ValueError(f"--hops {chosen}: {_legal(task)} legal for this model")
    if csv is not None:
        checked_file(csv, "--csv", {"model": model_place})
    alike = task.vocab_size == 1  # all strings of one symbol have equal neighbours
    found = probe_model(loaded.model, task, chosen, num_strings=strings, seed=seed, repeats=alike)
    if csv is not None:
        with whole_files(csv) as (partial,):
            found.table().to_csv(partial, index=False)
    roles = {}
    if isinstance(loaded, HopConstruction):
        for role in loaded.roles_for(chosen):
            words = role.role if role.hops is None else f"find^{role.hops}"
            roles[role.layer, role.head] = words
    console.show(_heads(found.best_targets(), f"Where heads look at k = {chosen}: {kind}", roles))
    console.say(f"looks at: the best of the previous token and find^0 .. find^{max(1, chosen)}, '-' for a cosine below {SEEN:g}")
    if csv is not None:
        console.say(f"CSV {csv}")


def _legal(task: HopTask) -> str:
    return f"{task.max_hops} is" if task.min_hops == task.max_hops else f"{task.min_hops} to {task.max_hops} are"


def _heads(best: pd.DataFrame, title: str, roles: dict[tuple[int, int], str]) -> Table:
    built = ("built to",) if roles else ()
    table = console.frame(title, "layer", "head", *built, "looks at", "cosine", "decisiveness", left=("looks at", "built to"))
    for row in best.to_dict("records"):
        place = int(row["layer"]), int(row["head"])
        meant = (roles.get(place, "idle"),) if roles else ()
        target = str(row["target"]) if row["cosine"] >= SEEN else "-"
        numbers = (f"{row['cosine']:.3f}", f"{row['decisiveness']:.3f}")
        table.add_row(str(place[0]), str(place[1]), *meant, target, *numbers)
    return table
