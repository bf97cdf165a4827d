"""The last part of `headcount manifold train`: the dimension of a real text's hidden states, and the exponents it foretells."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from empirical.data import Corpus
from empirical.scaling_runs import TIERS, ScalingRun, read_runs
from empirical.sweep import torch_threads
from empirical.text_dimension import TextVerdict, agreement, observed_exponents, text_bias_curve, text_dimensions, text_verdict
from headcount import _scaling_training, console
from headcount._output import output_folder
from headcount._progress import stages
from headcount._run_processes import THREADS
from headcount._scaling_cli import RESULTS
from theory._whole_files import whole_files

MOST_TOKENS = 1 << 21
MOST_TOKENS_AGAIN = 1 << 18
"""Of the runs that are trained where none are there: of the first seed, and of others."""
FILES = ("text.csv", "text_observed.csv", "text_agreement.csv", "text_bias.csv", "text_verdict.txt")
SIZES = {"smoke": (600, 10, 1)}
"""Tier: vectors from each model, halvings, clouds of each kind in the bias curve; others have 3600, 50 and 2."""
MEASURE_SECONDS = 0.05
"""About what the dimensions of all runs, the bias curve and the fits take, for each vector of a model: 3 minutes for 3600."""
BOOTSTRAPS = 200
SHOWN = ("slope", "early", "late", "offset")
"""Observed exponents in the table."""
QUESTION = "Does the agreement of predicted and observed data exponents survive?"


def text_experiment(*, tier: str, jobs: int | None, out: Path, corpus_results: Path | None = None) -> TextVerdict:
    """Dimensions of hidden states, observed exponents, their agreement and the verdict: into <out>/<tier> and onto the screen.

    Finished runs of `headcount scaling train` in `corpus_results` (None: where that command puts them) are taken, all there are
    of the tier, if those of `text_runs` are among them. Where some are missing they are trained there first, with `jobs` at once
    (None: as many as there are processors); where the runs there are on another text, in <out>/scaling. The quick tier then takes
    about 11 minutes of one core, and 3 minutes more are for the dimensions (`text_seconds`); these are kept in <out>/<tier> run
    by run, so that an interrupted measurement goes on.

    Raises ValueError for a tier that is none, a corpus that is missing, a folder that can't be written.
    """
    runs = text_runs(tier)
    corpus = _scaling_training.corpus_of(runs)
    results = RESULTS if corpus_results is None else corpus_results
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as top, output_folder(top / tier, "--out") as folder:
        results = _trained(runs, tier, corpus, results, top, jobs)
        vectors, resamples, repeats = SIZES.get(tier, (3600, 50, 2))
        table = read_runs(results, tier)
        widths = sorted({int(width) for width in table.loc[table["architecture"] == "transformer", "embed_dim"]})
        with stages() as progress, torch_threads(THREADS):
            curve = text_bias_curve(widths, num_points=vectors, repeats=repeats, progress=progress)
            dimensions = text_dimensions(results, tier, corpus, num_vectors=vectors, resamples=resamples, curve=curve,
                                         store=folder / "text-cells", progress=progress)  # fmt: skip
            observed = observed_exponents(table, bootstraps=BOOTSTRAPS, progress=progress)
        agreed = agreement(dimensions, observed)
        verdict = text_verdict(dimensions, observed, agreed)
        said = _said(verdict, corpus, results / tier)
        tables = (dimensions, observed, agreed, curve)
        with whole_files(*(folder / name for name in FILES)) as places:
            for place, one in zip(places, tables, strict=False):
                one.to_csv(place, index=False)
            places[-1].write_text("\n".join(said) + "\n", encoding="utf-8")
        console.show(_shown(agreed, dimensions))
        for line in said:
            console.say(line)
        console.say(f"{', '.join(FILES)} in {folder}")
    return verdict


def text_runs(tier: str) -> tuple[ScalingRun, ...]:
    """The scaling runs that the experiment asks for: transformers of every size on at most 2.1 million tokens, 262 thousand for a
    second seed; more are taken where they are there. Raises ValueError for a tier that is none."""
    if tier not in TIERS:
        raise ValueError(f"tier = {tier!r}: must be one of {', '.join(TIERS)}")
    most = {run.seed: MOST_TOKENS_AGAIN if run.seed else MOST_TOKENS for run in TIERS[tier]}
    return tuple(run for run in TIERS[tier] if run.architecture == "transformer" and run.tokens <= most[run.seed])


def text_seconds(tier: str, corpus_results: Path | None = None) -> float:
    """About what the experiment takes on one core: runs that `corpus_results` has no file of, then the dimensions, at most.

    Raises ValueError for a tier that is none.
    """
    place = (RESULTS if corpus_results is None else corpus_results) / tier
    missing = [run for run in text_runs(tier) if not (place / run.name / "run.json").is_file()]
    vectors = SIZES.get(tier, (3600, 50, 2))[0]
    return sum(map(_scaling_training.expected_seconds, missing)) + vectors * MEASURE_SECONDS


def _trained(runs: Sequence[ScalingRun], tier: str, corpus: Corpus, results: Path, folder: Path, jobs: int | None) -> Path:
    """Where the runs are, trained where they were missing."""
    place = results / tier
    try:
        missing = [run for run in runs if not _scaling_training.finished(place / run.name, run, corpus)]
    except ValueError as error:
        results = folder / "scaling"
        place = results / tier
        console.warn(f"{error}; new runs are trained in {place}")
        missing = [run for run in runs if not _scaling_training.finished(place / run.name, run, corpus)]
    if missing:
        seconds = sum(map(_scaling_training.expected_seconds, missing))
        console.say(f"{len(missing)} language models to train in {place}, about {seconds / 60:,.0f} minutes of one core")
        place.mkdir(parents=True, exist_ok=True)
        most = min(jobs or len(os.sched_getaffinity(0)), len(missing))
        _scaling_training.train_all(missing, corpus, place, most)
    return results


def _said(verdict: TextVerdict, corpus: Corpus, place: Path) -> list[str]:
    """The verdict in lines."""
    lines = [f"{QUESTION} {verdict.answer[0].upper()}{verdict.answer[1:]}{', because' if verdict.because else '.'}"]
    lines += [f"  - {reason}" for reason in verdict.because]
    ways = "; ".join(f"{way}: {one}" for way, one in verdict.by_source.items())
    lines += [f"each way to read the observed exponent by itself: {ways or 'none'}"]
    lines += [*verdict.lines, f"runs: {place}; corpus: Python {corpus.python_version}, digest {corpus.digest[:12]}"]
    return lines


def _shown(agreed: pd.DataFrame, dimensions: pd.DataFrame) -> Table:
    """A line for each size's run and kind of cloud: dimension, prediction, observed slopes."""
    beta = float(dimensions["beta"].iloc[0])
    title = f"Data exponents from the dimension of hidden states (Levina-Bickel, beta = {beta:g}), and observed"
    headings = ("width", "D", "hidden states", "d", "predicted", *SHOWN)
    shown = console.frame(title, *headings, left=("hidden states",))
    chosen = agreed[(agreed["method"] == "levina_bickel") & (agreed["metric"] == "euclidean")]
    for (width, kind), part in chosen.groupby(["embed_dim", "kind"], sort=False):
        first = part.iloc[0]
        seen = {row.source: f"{row.observed:.2f} [{row.observed_low:.2f}, {row.observed_high:.2f}]" for row in part.itertuples()}
        about = [str(width), f"{first['tokens']:,}", str(kind), f"{first['dimension']:.1f}"]
        predicted = f"{first['predicted']:.2f} [{first['predicted_low']:.2f}, {first['predicted_high']:.2f}]"
        observed = [seen.get(name, "-") if kind == "trained" else "" for name in SHOWN]
        shown.add_row(*about, predicted, *observed)
    return shown
