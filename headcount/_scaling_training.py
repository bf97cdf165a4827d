"""What `headcount scaling train` does: runs of a tier, some side by side, then the law that their losses follow."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table

from empirical.data import Corpus, stdlib_corpus
from empirical.scaling_points import ParameterCount, ScalingPoints
from empirical.scaling_runs import TIERS, RunFileError, ScalingRun, read_run, read_runs, train_run
from headcount import console
from headcount._arguments import again
from headcount._output import output_folder
from headcount._progress import stages
from headcount._run_bundles import Bundle, train_under_a_bar
from headcount._run_processes import Message
from headcount._scaling_cli import RESULTS

BUNDLE_SECONDS = 30.0
"""Shorter runs share a process: starting one costs seconds."""
COUNTS: tuple[tuple[ParameterCount, str], ...] = (
    ("total", "total_parameters"), ("non-embedding", "non_embedding_parameters")
)  # fmt: skip


@dataclass(frozen=True)
class _Work:
    """A bundle of runs, each from where it stands to its held-out loss."""

    place: Path
    digest: str

    def __call__(self, bundle: Bundle[ScalingRun], tell: Callable[[Message], None]) -> None:
        corpus = corpus_of(bundle.runs)
        if corpus.digest != self.digest:
            raise ValueError(f"the text changed while it was read (corpus {corpus.digest[:12]}, before {self.digest[:12]})")
        for run in bundle.runs:
            _train_one(run, corpus, self.place, tell)


def _train_one(run: ScalingRun, corpus: Corpus, place: Path, tell: Callable[[Message], None]) -> None:
    def show(step: int, steps: int, loss: float) -> None:
        tell(Message(run.name, step, loss, steps))

    trained = train_run(run, corpus, place / run.name, progress=show)
    show(run.steps, run.steps, trained.loss)  # one that diverged, or that was only measured, is done as well


def corpus_of(runs: Sequence[ScalingRun]) -> Corpus:
    """The standard library, in the tokens of these runs. Raises ValueError where they ask for more than one way of cutting."""
    kinds = {(run.tokenizer, run.vocab_size) for run in runs}
    if len(kinds) > 1:
        raise ValueError(f"runs of different tokens, {sorted(kinds)}: must be of one kind")
    tokenizer, size = kinds.pop()
    return stdlib_corpus() if tokenizer == "bytes" else stdlib_corpus(tokens="bpe", vocab_size=size)


def train(*, names: Sequence[str], tier: str, jobs: int | None, list_only: bool, out: Path) -> None:
    """`headcount scaling train`."""
    runs = chosen_runs(names, tier)
    if list_only:
        console.show(_settings(runs, tier))
        return
    corpus = corpus_of(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder, output_folder(folder / tier, "--out") as place:
        missing = [run for run in runs if not finished(place / run.name, run, corpus)]
        if missing:
            try:
                train_all(missing, corpus, place, min(jobs or len(os.sched_getaffinity(0)), len(missing)))
            except KeyboardInterrupt:
                words = _command(names, tier, jobs, out)
                console.warn(f"interrupted; the same command goes on from the last checkpoints in {place}: {words}")
                raise
        table = read_runs(folder, tier)
        named = {run.name for run in runs}
        console.show(_results(table[table["name"].isin(named)], tier))
        with stages() as progress:
            lines = _law(table, progress)
        for line in lines:
            console.say(line)
        console.say(f"corpus: {len(corpus.files)} files, {len(corpus.tokens):,} tokens of Python {corpus.python_version}, "
                    f"digest {corpus.digest[:12]}")
        console.say(f"run.json, positions.csv and model of every run in {place}")


def chosen_runs(names: Sequence[str], tier: str) -> tuple[ScalingRun, ...]:
    """The runs of a tier with these names, all without a name. Raises ValueError for one that the tier does not have."""
    runs = {run.name: run for run in TIERS[tier]}
    for name in names:
        if name not in runs:
            raise ValueError(f"{name!r}: is no run of tier {tier}; {console.few(runs)} are legal (--list names all)")
    return tuple(runs[name] for name in dict.fromkeys(names)) if names else tuple(runs.values())


def finished(folder: Path, run: ScalingRun, corpus: Corpus) -> bool:
    """Whether the run in a folder is done. Raises ValueError for one on another text: it would not compare with new ones."""
    if not (folder / "run.json").is_file():
        return False
    there = read_run(folder)
    if there.run.corpus != corpus.digest:
        known = f"corpus {there.run.corpus[:12]}, here it is {corpus.digest[:12]}"
        raise RunFileError(f"{folder}: was trained on another text ({known}); another --out begins anew")
    return there.finished and there.run == run.on(corpus.digest)


def expected_seconds(run: ScalingRun) -> float:
    """About what a run takes on one core of 2026: 40 GFLOP a second in matrix products, 15 microseconds a token in all else."""
    return run.flops / 4e10 + run.tokens * 1.5e-5


def train_all(runs: Sequence[ScalingRun], corpus: Corpus, place: Path, jobs: int) -> None:
    """Trains these runs, `jobs` at a time, each in the folder of its name in `place`, under a bar of how far all of them are."""
    train_under_a_bar(
        runs, jobs, expected_seconds, BUNDLE_SECONDS, lambda run, tell: _train_one(run, corpus, place, tell),
        _Work(place, corpus.digest), lambda told: f"{len(runs)} runs; {told.name}, loss {told.loss:.3f}",
    )  # fmt: skip


def _command(names: Sequence[str], tier: str, jobs: int | None, out: Path) -> str:
    return again(["scaling", "train", *names, "--tier", tier], {"--jobs": (jobs, None), "--out": (out, RESULTS)})


def _settings(runs: Sequence[ScalingRun], tier: str) -> Table:
    headings = ("run", "N total", "N non-embedding", "D", "FLOP", "steps", "context", "rate", "warm-up", "seed")
    seconds = sum(map(expected_seconds, runs))
    title = f"{len(runs)} runs of tier {tier}, about {seconds / 60:,.0f} minutes of one core"
    table = console.frame(title, *headings, left=("run",))
    for run in runs:
        model = run.model(device="meta")
        table.add_row(
            run.name, f"{model.total_parameters:,}", f"{model.non_embedding_parameters:,}", f"{run.tokens:,}",
            f"{run.flops:.2g}", f"{run.steps:,}", str(run.context), f"{run.learning_rate:.3g}", str(run.warmup), str(run.seed),
        )  # fmt: skip
    return table


def _results(table: pd.DataFrame, tier: str) -> Table:
    headings = ("run", "N total", "N non-embedding", "D", "seed", "held-out loss", "95% interval", "seconds")
    shown = console.frame(f"Nats per token, tier {tier}", *headings, left=("run",))
    for row in table.to_dict("records"):
        loss = row["failure"] or f"{row['loss']:.4f}"
        span = "" if row["failure"] else f"{row['loss_low']:.3f}..{row['loss_high']:.3f}"
        counts = (f"{row[name]:,}" for name in ("total_parameters", "non_embedding_parameters", "tokens"))
        shown.add_row(str(row["name"]), *counts, str(row["seed"]), loss, span, f"{row['seconds']:.0f}")
    return shown


def points_of(table: pd.DataFrame, count: ParameterCount) -> ScalingPoints:
    """The transformers among `read_runs`'s rows that did not diverge, as points with N counted so.

    Raises ValueError where there is none.
    """
    rows = table[(table["architecture"] == "transformer") & (table["failure"] == "")]
    if rows.empty:
        raise ValueError("no transformer among the runs came to its end: a law needs points")
    return ScalingPoints.of(
        rows[dict(COUNTS)[count]].to_numpy(dtype=float), rows["tokens"].to_numpy(dtype=float), rows["loss"].to_numpy(dtype=float),
        runs=tuple(rows["name"]), parameter_count=count,
    )  # fmt: skip


def _law(table: pd.DataFrame, progress: Callable[[str, int, int], None]) -> list[str]:
    """The law of Hoffmann et al. 2022 fitted to the transformers, N counted both ways; or why not."""
    from empirical.scaling_fits import fit_scaling_law

    lines = []
    for count, _ in COUNTS:
        try:
            fit = fit_scaling_law(
                points_of(table, count), progress=lambda stage, *done, count=count: progress(f"N {count}: {stage}", *done)
            )
        except ValueError as error:
            lines.append(f"no law, N {count}: {error}")
            continue
        lines.append(f"E + A/N^alpha + B/D^beta of the transformers, N {count}:")
        lines.extend(f"  {line}" for line in fit.summary())
    return lines
