r"""Does the dimension of a model's last hidden states foretell how fast its loss falls with data? A test on our own models.

    from empirical.data import stdlib_corpus
    from empirical.scaling_runs import read_runs
    from empirical.text_dimension import agreement, observed_exponents, text_dimensions, text_verdict
    dimensions = text_dimensions("results/scaling", "quick", stdlib_corpus())
    observed = observed_exponents(read_runs("results/scaling", "quick"))
    verdict = text_verdict(dimensions, observed, agreement(dimensions, observed))

Havrilla and Liao 2024 rest on an agreement: d from Levina and Bickel's estimator on last-layer states, 2/(2 + d) within 0.02 of
the exponent of the loss in data. Here: the quick tier's transformers, five widths on 131 thousand to 4.2 million bytes of Python
3.11.7's standard library, 3600 vectors of held-out files each, 20 neighbours, beta = 1 fixed beforehand; predictions are of the
runs on the most tokens, intervals are 95% and for d about files. On this text the answer is: can't be decided. What was measured:

    width   d     predicted           slope, all D        early half          late half           with a floor E >= 0
        8   3.1   0.39 [0.37, 0.41]   0.04 [0.03, 0.06]   0.08 [0.06, 0.09]   0.04 [0.02, 0.05]   0.83 [0.27, 1.70]
       16   3.3   0.38 [0.34, 0.41]   0.08 [0.06, 0.10]   0.10 [0.08, 0.11]   0.10 [0.08, 0.11]   0.08 [0.05, 0.89]
       32   4.0   0.33 [0.28, 0.39]   0.12 [0.10, 0.14]   0.10 [0.09, 0.11]   0.19 [0.17, 0.20]   0.12 [0.10, 0.30] *
       56   4.3   0.32 [0.26, 0.37]   0.14 [0.09, 0.20]   0.08 [0.06, 0.10]   0.24 [0.22, 0.26]   0.14 [0.07, 0.88] *
       96   4.6   0.30 [0.25, 0.36]   0.15 [0.10, 0.20]   0.07 [0.06, 0.08]   0.29 [0.28, 0.31]   0.15 [0.10, 0.45] *

* The best floor is 0, as it is in the joint law: these are exponents of L, not of L - E, as the slope is.

Read off without a floor, or by the joint law (0.09 [0.08, 0.15]), the agreement fails in all sizes, by 0.15 to 0.35. Where a
floor may be taken off all intervals meet, but they are so wide that they meet nearly everything. The late half agrees at width 96
(0.29 and 0.30) and at no other: with the range and the size to choose from, an agreement can be had. It can't be decided, because

- four of five curves bend (width 96: from -0.01 to 0.33 along its range), so that no one number is their exponent;
- the order is the wrong way round: wider models have the larger d but fall faster (Kendall's tau -1, p = 0.017), though narrow
  ones may fall slower only since they are too small for so much text;
- no difference is shown between models that were never trained (d 3.8 to 7.1), which meet 7 of 11 observed intervals (slope and
  offset by size, the joint law once), and trained ones, which meet 5;
- there is no one d: at width 96 Levina-Bickel gives 5.6, 4.5, 5.1 and TwoNN 5.5, 6.2, 6.7 from 900, 3600 and 14400 vectors, and
  at widths 8 to 32 the two differ beyond their intervals. Saturation, which spoils estimates of larger d, is no trouble here, and
  lengths (distances between vectors scaled to length 1) hardly matter: d changes by 0.02 at most;
- 1/alpha_D - 1/alpha_N, 1 in theory, is 8.4 [-1.4, 10.8] by the joint law (N in total): it excludes neither 1 nor much else.

Within 0.02 of width 96's slope is every d from 10 to 13, and so is d = 4.6 at beta = 0.41: a beta chosen afterwards makes any d
agree. What this can't say: the models are small and far from converged, the text is one, most cells have one seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from empirical._scaling_windows import LEVEL, VALIDATION_SHARE
from empirical._text_agreement import AGREEMENT_COLUMNS, TextVerdict, agreement, text_verdict
from empirical._text_embeddings import embedding_places, gaussian_like, last_layer_embeddings, shuffled
from empirical._text_exponents import OBSERVED_COLUMNS, observed_exponents
from empirical.cell_store import CellStore
from empirical.data import Corpus, CorpusPart, require_same_corpus
from empirical.dimension import (
    METHODS,
    CorrectedDimension,
    DimensionEstimate,
    bias_curve,
    corrected_dimension,
    estimate_dimensions,
    predicted_exponents,
)  # fmt: skip
from empirical.language_models import LanguageTransformer
from empirical.scaling_runs import read_run, read_runs
from theory.shapes import checked_integer

__all__ = [
    "AGREEMENT_COLUMNS", "CONTROLS", "DIMENSION_COLUMNS", "OBSERVED_COLUMNS", "TextVerdict", "agreement", "embedding_places",
    "gaussian_like", "last_layer_embeddings", "observed_exponents", "shuffled", "text_bias_curve", "text_dimensions",
    "text_verdict",
]  # fmt: skip

CONTROLS = ("untrained", "gaussian", "shuffled")
"""Clouds that no theory ties to the loss: hidden states of the model before its first step, normal vectors with the covariance of
the trained ones, and the trained ones with every coordinate permuted on its own."""
DIMENSION_COLUMNS = (
    "kind", "name", "embed_dim", "num_layers", "total_parameters", "tokens", "seed", "loss", "metric", "method", "neighbours",
    "num_points", "num_dropped", "dimension", "low", "high", "level", "corrected", "corrected_low", "corrected_high", "saturated",
    "beta", "predicted", "predicted_low", "predicted_high", "reason",
)  # fmt: skip
KNOWN_DIMENSIONS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128)
"""Of the clouds of the bias curve, up to the models' width."""
LEAST_FILES = 8
"""Held-out files below which the interval of a dimension does not count vectors of one file as one."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Settings:
    """What determines the estimates of a run, besides the run."""

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    controls: tuple[str, ...]
    neighbours: int | None
    num_vectors: int
    resamples: int
    seed: int

    def spec(self, run_digest: str) -> dict[str, Any]:
        """What the estimates are kept under."""
        known = {"methods": list(self.methods), "metrics": list(self.metrics), "controls": list(self.controls)}
        numbers = {"neighbours": self.neighbours, "num_vectors": self.num_vectors, "resamples": self.resamples, "seed": self.seed}
        return {"method": "text-dimension", "version": 1, "run": run_digest} | known | numbers


def text_dimensions(
    folder: str | Path,
    tier: str,
    corpus: Corpus,
    *,
    methods: Sequence[str] = ("levina_bickel", "two_nn"),
    metrics: Sequence[str] = ("euclidean", "cosine"),
    controls: Sequence[str] = CONTROLS,
    names: Sequence[str] | None = None,
    num_vectors: int = 3600,
    neighbours: int | None = None,
    beta: float = 1.0,
    resamples: int = 50,
    seed: int = 0,
    curve: pd.DataFrame | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    r"""Dimension of the last hidden states of finished transformer runs, and the data exponent that it promises.

    A row for each run, metric and method, of `kind` "trained"; rows of each control for every size's run on the most tokens (of
    the lowest seed), with the first metric only. Columns: dimension with low and high at `level`, from random halves of the
    held-out files (control clouds: of the vectors); corrected: the dimension of clouds with as many points that would give this
    (`text_bias_curve`), corrected_high infinite and `saturated` where that reaches m - 2, the largest that a layer norm of width
    m lets through; predicted: 2 beta/(2 beta + d) of the corrected dimension with its ends; `reason`: what is missing or weak.

    Args:
        folder, tier: of `read_runs`.
        corpus: the one that the runs were trained on; vectors are from its held-out files alone.
        methods: of `empirical.dimension.METHODS`.
        metrics: of "euclidean" and "cosine" (straight lines between vectors of length 1).
        controls: of `CONTROLS`.
        names: of runs, None for all.
        num_vectors: from each model; with the estimators' 20 neighbours, 3600 is the batch of the scripts that were published
            with Havrilla and Liao 2024.
        neighbours: None for each method's own.
        beta: smoothness of the target, fixed before one looks: 1, as for a Lipschitz function.
        resamples: halvings for the intervals, 0 for none.
        seed: of positions, halves and controls.
        curve: a `text_bias_curve` for these widths, methods and numbers; made here where None.
        store: a folder that keeps the estimates of each run, so that an interrupted measurement goes on.
        progress: called with (stage, done, all).

    Raises:
        ValueError: no finished run, a run on another corpus, a name, method, metric or control that is not there, a number out of
            range.
    """
    settings = _checked(methods, metrics, controls, neighbours, num_vectors, resamples, seed)
    table = read_runs(folder, tier)
    chosen = table[(table["architecture"] == "transformer") & (table["failure"] == "")]
    for name in names or ():
        if name not in set(chosen["name"]):
            raise ValueError(f"names: {name!r} is no finished transformer run in {Path(folder) / tier}")
    chosen = chosen if names is None else chosen[chosen["name"].isin(list(names))]
    if chosen.empty:
        raise ValueError(f"{Path(folder) / tier}: holds no finished transformer run to measure")
    require_same_corpus(str(chosen["corpus"].iloc[0]), corpus.digest)
    held_out = corpus.split(VALIDATION_SHARE).validation
    if curve is None:
        curve = text_bias_curve(
            sorted({int(width) for width in chosen["embed_dim"]}), methods=methods, num_points=num_vectors, neighbours=neighbours,
            seed=seed, progress=progress,
        )  # fmt: skip
    kept = None if store is None else CellStore(store)
    rows = list[dict[str, Any]]()
    largest = set(chosen.sort_values(["tokens", "seed"], ascending=[False, True]).drop_duplicates("total_parameters")["name"])
    for number, run in enumerate(chosen.to_dict("records")):
        if progress is not None:
            progress("dimension of hidden states", number, len(chosen))
        wanted = settings if run["name"] in largest else replace(settings, controls=())
        estimates = _estimates(Path(folder) / tier / str(run["name"]), held_out, wanted, kept)
        about = {name: run[name] for name in DIMENSION_COLUMNS[1:8]}
        rows += [about | one | _promised(one, int(run["embed_dim"]), curve, beta) for one in estimates]
    return pd.DataFrame(rows, columns=list(DIMENSION_COLUMNS))


def text_bias_curve(
    widths: Sequence[int], *, methods: Sequence[str] = ("levina_bickel", "two_nn"), num_points: int = 3600,
    neighbours: int | None = None, repeats: int = 2, seed: int = 0, progress: Progress | None = None,
) -> pd.DataFrame:  # fmt: skip
    """`bias_curve` of these methods for models of these widths, with as many points: one for all widths, as distances in a cloud
    do not depend on the space that it lies in, and each width is among the known dimensions."""
    known = sorted({size for size in KNOWN_DIMENSIONS if size < max(widths)} | {*widths})
    return bias_curve(
        num_points=num_points, ambient_dim=max(widths), dimensions=known, families=("ball", "gaussian"), method=methods,
        neighbours=neighbours, repeats=repeats, seed=seed,
        progress=None if progress is None else partial(progress, "bias of the estimators"),
    )  # fmt: skip


def _checked(methods: Sequence[str], metrics: Sequence[str], controls: Sequence[str], neighbours: int | None, num_vectors: int,
             resamples: int, seed: int) -> _Settings:  # fmt: skip
    legal = {"methods": tuple(METHODS), "metrics": ("euclidean", "cosine"), "controls": CONTROLS}
    given = {"methods": methods, "metrics": metrics, "controls": controls}
    for what, names in given.items():
        wrong = [name for name in names if name not in legal[what]]
        if wrong or (not names and what != "controls"):
            raise ValueError(f"{what} = {list(names)}: at least one of {', '.join(legal[what])} is legal")
    numbers = (checked_integer("num_vectors", num_vectors, 2), checked_integer("resamples", resamples, 0))
    near = None if neighbours is None else checked_integer("neighbours", neighbours, 2)
    return _Settings(tuple(methods), tuple(metrics), tuple(controls), near, *numbers, checked_integer("seed", seed, 0))


def _estimates(place: Path, held_out: CorpusPart, settings: _Settings, kept: CellStore | None) -> list[dict[str, Any]]:
    """All estimates of a run, from the store where it has them."""
    trained = read_run(place)
    spec = settings.spec(trained.run.digest)
    if kept is not None and (found := kept.get(spec)) is not None:
        return [{name: nan if value is None else value for name, value in row.items()} for row in found.rows]
    model, run = trained.model, trained.run
    assert isinstance(model, LanguageTransformer)
    places = embedding_places(len(held_out.tokens), run.context, num_vectors=settings.num_vectors, seed=settings.seed)
    files = np.searchsorted(held_out.offsets, places.reshape(-1)[: settings.num_vectors], side="right") - 1
    groups = files if len(np.unique(files)) >= LEAST_FILES else None

    def vectors(of: LanguageTransformer) -> Float[np.ndarray, "vectors embed_dim"]:
        return last_layer_embeddings(of, held_out.tokens, num_vectors=settings.num_vectors, seed=settings.seed)

    measured = vectors(model)
    rows = [row for metric in settings.metrics for row in _measured("trained", measured, metric, groups, settings)]
    for control in settings.controls:
        if control != "untrained":
            cloud = (gaussian_like if control == "gaussian" else shuffled)(measured, settings.seed)
            rows += _measured(control, cloud, settings.metrics[0], None, settings)
            continue
        born = run.model()
        assert isinstance(born, LanguageTransformer)
        rows += _measured(control, vectors(born), settings.metrics[0], groups, settings)
    if kept is not None:
        kept.put(spec, rows)
    return rows


def _measured(kind: str, cloud: Float[np.ndarray, "vectors width"], metric: str, groups: Int[np.ndarray, " vectors"] | None,
              settings: _Settings) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each method; a cloud that they refuse (all vectors equal, say) gives the reason, not a number."""
    names = ("method", "neighbours", "num_points", "num_dropped", "dimension", "low", "high", "level", "reason")
    try:
        found = estimate_dimensions(
            cloud, settings.methods, neighbours=settings.neighbours, metric="cosine" if metric == "cosine" else "euclidean",
            resamples=settings.resamples, seed=settings.seed, groups=groups,
        )  # fmt: skip
        rows = [{name: row[name] for name in names} for row in found.to_dict("records")]
    except ValueError as error:
        nothing = {"neighbours": 0, "num_points": 0, "num_dropped": 0, "dimension": nan, "low": nan, "high": nan, "level": LEVEL}
        rows = [{"method": method, "reason": str(error)} | nothing for method in settings.methods]
    few = groups is None and settings.resamples and kind in ("trained", "untrained")
    weak = ["too few files: the interval is of vectors"] if few else []
    return [{"kind": kind, "metric": metric} | row | {"reason": "; ".join(filter(None, [row["reason"], *weak]))} for row in rows]


def _promised(row: Mapping[str, Any], width: int, curve: pd.DataFrame, beta: float) -> dict[str, Any]:
    """The corrected dimension of an estimate and its data exponent."""
    estimate = DimensionEstimate(
        row["method"], row["dimension"], row["low"], row["high"], row["level"], row["num_points"], row["num_dropped"],
        row["neighbours"], row["reason"],
    )  # fmt: skip
    found = CorrectedDimension(nan, nan, nan, "no estimate")
    if isfinite(estimate.dimension):
        found = corrected_dimension(estimate, curve[curve["dimension"] <= width])
    reasons = dict.fromkeys(filter(None, (estimate.reason, found.reason)))
    saturated = isfinite(estimate.dimension) and not found.high < width - 2
    if saturated:
        found = replace(found, high=inf)
        reasons[f"saturated: width {width} shows no dimension above {width - 2}"] = None
    promise = predicted_exponents(found, beta)
    return {
        "corrected": found.dimension, "corrected_low": found.low, "corrected_high": found.high, "saturated": saturated,
        "beta": beta, "predicted": promise.data, "predicted_low": promise.data_low, "predicted_high": promise.data_high,
        "reason": "; ".join(reasons),
    }  # fmt: skip
