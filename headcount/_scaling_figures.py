"""What `headcount scaling figure` does: figures that need no table of the user's, each with what is read from it in words."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from empirical.data import Corpus, WordCounts, bigram_matrix, digits, stdlib_corpus, word_counts
from empirical.scaling_fits import fit_scaling_law
from empirical.scaling_runs import read_positions, read_runs
from headcount import console
from headcount._output import output_folder, write_figure
from headcount._scaling_training import points_of
from headcount.figures import scaling as drawings
from theory.power_laws import fit_power_law, split_half
from theory.spectra import independence_residuals, judge_spectrum

FIGURES = ("counting", "ranks", "tail", "spectra", "runs", "positions")
TRAINED = ("runs", "positions")
REPLICATES = 100
"""Of the goodness of fit of the words' tail: its p is known to 0.05."""


def figures(*, names: Sequence[str], tier: str, seed: int, out: Path) -> None:
    """`headcount scaling figure`."""
    for name in names:
        if name not in (*FIGURES, "all"):
            raise ValueError(f"NAME {name}: {', '.join(FIGURES)} and all are legal")
    chosen = [name for name in FIGURES if name in names or "all" in names]
    missing = "" if any((out / tier).glob("*/run.json")) else f"no run of tier {tier} is in {out}"
    if missing and any(name in TRAINED for name in names):
        raise ValueError(f"{missing}; headcount scaling train --tier {tier} makes them")
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder:
        for name in chosen:
            if name in TRAINED:
                if not missing:
                    write_figure(folder, f"{name}-{tier}", *_TRAINED_MAKERS[name](folder, tier, seed))
            else:
                write_figure(folder, name, *_MAKERS[name](seed))
    if missing and "all" in names:
        console.warn(f"left out, as {missing}: {', '.join(TRAINED)}")


@cache
def _corpus() -> Corpus:
    return stdlib_corpus()


@cache
def _words() -> WordCounts:
    return word_counts(_corpus())


def _counting(seed: int) -> drawings.Made:
    return drawings.counting_figure()


def _ranks(seed: int) -> drawings.Made:
    words = _words()
    found = split_half(*words.halves, seed=seed)
    console.say(f"{len(words.words):,} different words, {int(words.counts.sum()):,} in all")
    console.say("ranks by one half of the files, counts of the other:")
    for segment in found.segments:
        ends = f"[{segment.low:.3f}, {segment.high:.3f}]" if segment.low == segment.low else segment.reason
        console.say(f"  ranks {segment.first_rank:,} to {segment.last_rank:,}: slope {segment.slope:.3f} {ends}")
    return drawings.ranks_figure(found)


def _tail(seed: int) -> drawings.Made:
    fit = fit_power_law(_words().counts, bootstraps=REPLICATES, seed=seed)
    words = f"tail of the words' counts: {fit.verdict}, g = {fit.exponent:.3f} from {fit.x_min:g} on"
    console.say(f"{words}; {'; '.join(fit.reasons)}")
    return drawings.tail_figure(fit)


def _spectra(seed: int) -> drawings.Made:
    corpus = _corpus()
    bigrams = independence_residuals(bigram_matrix(corpus.tokens, corpus.vocab_size))
    verdicts = {"bigrams of bytes": judge_spectrum(bigrams, seed=seed), "digits": judge_spectrum(digits(), seed=seed)}
    for name, verdict in verdicts.items():
        console.say(f"{name}: {verdict.verdict}; {'; '.join(verdict.reasons)}")
    return drawings.spectra_figure(verdicts)


def _runs(folder: Path, tier: str, seed: int) -> drawings.Made:
    table = read_runs(folder, tier)
    transformers = table[table["architecture"] == "transformer"]
    fit = fit_scaling_law(points_of(transformers, "non-embedding"), bootstraps=0, profiles=False, influence=False, seed=seed)
    for refusal in fit.refusals:
        console.say(f"no law drawn: {refusal}")
    return drawings.runs_figure(table, fit if fit.law is not None else None)


def _positions(folder: Path, tier: str, seed: int) -> drawings.Made:
    return drawings.positions_figure(read_positions(folder, tier))


_MAKERS: dict[str, Callable[[int], drawings.Made]] = {
    "counting": _counting, "ranks": _ranks, "tail": _tail, "spectra": _spectra
}  # fmt: skip
_TRAINED_MAKERS: dict[str, Callable[[Path, str, int], drawings.Made]] = {"runs": _runs, "positions": _positions}
