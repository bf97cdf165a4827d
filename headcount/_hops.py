"""What `headcount hops build` and `probe` do, once their arguments are read. Everything slow to import is imported here."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from constructions.construction import DTYPES
from constructions.hops import HopConstruction, MarginReport, certify_hops, margins
from constructions.hops import build as build_hops
from empirical.hop_errors import drawn_strings, measure_hops
from empirical.hop_probe import probe_model
from empirical.hop_training import read_run
from headcount import __version__, console
from headcount._output import checked_file
from theory._whole_files import whole_files
from theory.hops import HopTask

WRONG = 1


def build(
    *, num_hops: int | None, max_hops: int | None, vocab_size: int, seq_len: int, recipe: Any, encoding: Any, dtype: str,
    scale: float | None, looped: bool, output: Path, certificate_file: Path | None, strings: int, seed: int,
) -> int:
    """`headcount hops build`; the exit code, 1 when the trial finds a wrong answer."""
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
    trial = measure_hops(built.model, task, num_strings=strings, seed=seed)
    repeated = measure_hops(built.model, task, num_strings=strings, seed=seed, repeats=True)
    wrong = sum(int(each.wrong.sum() + each.missing_wrong.sum()) for each in (trial, repeated))
    tokens = sum(int(each.defined.sum() + each.missing.sum()) for each in (trial, repeated))
    symbols = drawn_strings(task, strings, seed=seed, num_hops=task.max_hops)
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
        "trial": f"{wrong:,} wrong of {tokens:,} answers, on strings with and without equal neighbours",
    }))  # fmt: skip
    console.show(_margins(report))
    console.say(f"for all strings: {certificate.text()}")
    console.say(f"MODEL {output}")
    if certificate_file is not None:
        console.say(f"CERTIFICATE {certificate_file}")
    return WRONG if wrong else 0


def _range(task: HopTask) -> str:
    return str(task.max_hops) if task.min_hops == task.max_hops else f"{task.min_hops}..{task.max_hops}"


def _margins(report: MarginReport) -> Table:
    table = _frame(
        "Scaled score gaps and leaked attention",
        "layer", "head", "role", "gap seen", "gap proved", "leak seen", "leak at most",
    )  # fmt: skip
    for row in report.rows:
        numbers = (row.gap_seen, row.gap_proved, row.leak_seen, row.leak)
        table.add_row(str(row.layer), str(row.head), row.role, *(console.number(value, ".3g") for value in numbers))
    return table


def load(place: Path) -> tuple[Any, HopTask, str]:
    """A model with its task, and what it is: a file of `hops build` or the folder of a run of `hops train`.

    Raises ValueError for a place that is neither.
    """
    if place.is_dir():
        trained = read_run(place)
        if trained.failure:
            raise ValueError(f"{place}: this run failed ({trained.failure})")
        done = "" if trained.finished else f", {trained.steps_done:,} of {trained.run.steps:,} steps"
        return trained.model, trained.run.task, f"trained, {trained.run.num_layers} layers{done}"
    built = HopConstruction.load(place)
    return built.model, built.task, f"built, recipe {built.recipe}, {built.model.num_layers} layers"


def probe(*, model_place: Path, num_hops: int | None, strings: int, seed: int, csv: Path | None) -> None:
    """`headcount hops probe`."""
    model, task, kind = load(model_place)
    chosen = task.max_hops if num_hops is None else num_hops
    if not task.min_hops <= chosen <= task.max_hops:
        raise ValueError(f"--hops {chosen}: {task.min_hops} to {task.max_hops} are legal for this model")
    if csv is not None:
        checked_file(csv, "--csv", {"model": model_place})
    found = probe_model(model, task, chosen, num_strings=strings, seed=seed)
    if csv is not None:
        with whole_files(csv) as (partial,):
            found.table().to_csv(partial, index=False)
    console.show(_heads(found.best_targets(), f"Where heads look at k = {chosen}: {kind}"))
    if csv is not None:
        console.say(f"CSV {csv}")


def _heads(best: pd.DataFrame, title: str) -> Table:
    table = _frame(title, "layer", "head", "looks at", "cosine", "decisiveness")
    for row in best.itertuples():
        table.add_row(str(row.layer), str(row.head), str(row.target), f"{row.cosine:.3f}", f"{row.decisiveness:.3f}")
    return table


def _frame(title: str, *headings: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("role", "looks at") else "right", no_wrap=True)
    return table
