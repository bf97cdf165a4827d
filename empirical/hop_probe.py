"""Which hop each attention head makes: its attention compared with find^j, on the positions where find^j is defined.

Works on attention maps of any model, as numpy or torch arrays. A head of a built model that has the role find^j scores 1.0 for
it; what heads of trained models do is then read with the same ruler, and compared with what the two constructions would do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions.attention import CHUNK_ELEMENTS
from empirical._evaluated import device_of, evaluated
from empirical._probe_scores import SCORES, decisiveness, string_scores
from empirical.hop_errors import drawn_strings
from theory.hops import HopTask, find
from theory.shapes import checked_integer

PREVIOUS = "previous token"
PROBE_COLUMNS = ("layer", "head", "target", "hops", *SCORES, "decisiveness", "num_rows", "num_strings")
"""Columns of `ProbeResult.table`. Layers count from 1, heads from 0, as in the roles of built models; `hops` is j."""
Maps = Float[np.ndarray, "layers batch heads positions positions"] | Float[Tensor, "layers batch heads positions positions"]


@runtime_checkable
class MappedModel(Protocol):
    """What is probed: a model that gives its attention weights."""

    def attention_maps(
        self, tokens: Int[Tensor, "batch positions"]
    ) -> Float[Tensor, "layers batch heads positions positions"]: ...


@dataclass(frozen=True)
class ProbeResult:
    """Scores of every head against every target, means over the strings where the target has a defined row.

    Attributes:
        hops: j of each target, None for the previous token.
        scores: by the names of `empirical._probe_scores.SCORES`, which says what they are; NaN where no row is defined.
        decisiveness: mean over rows of a head's largest weight, 1 for one that looks at one position at a time.
        num_rows: defined rows of each target, all strings together.
        num_strings: strings with a defined row, for each target.
        offset: tokens before the first symbol.
    """

    hops: tuple[int | None, ...]
    scores: dict[str, Float[np.ndarray, "layers heads targets"]]
    decisiveness: Float[np.ndarray, "layers heads"]
    num_rows: Int[np.ndarray, " targets"]
    num_strings: Int[np.ndarray, " targets"]
    offset: int = 1

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets: "previous token", "find^0" (the position itself), "find^1" and so on."""
        return tuple(PREVIOUS if hops is None else f"find^{hops}" for hops in self.hops)

    @property
    def cosine(self) -> Float[np.ndarray, "layers heads targets"]:
        """The cosine on defined rows."""
        return self.scores["cosine"]

    def table(self) -> pd.DataFrame:
        """One row for each layer, head and target, with PROBE_COLUMNS."""
        layers, heads, targets = self.cosine.shape
        rows = [
            {"layer": layer + 1, "head": head, "target": self.targets[target], "hops": self.hops[target],
             **{name: float(self.scores[name][layer, head, target]) for name in SCORES},
             "decisiveness": float(self.decisiveness[layer, head]), "num_rows": int(self.num_rows[target]),
             "num_strings": int(self.num_strings[target])}
            for layer in range(layers) for head in range(heads) for target in range(targets)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(PROBE_COLUMNS)).astype({"hops": "Int64"})

    def columns(self, target: str, symbols: Int[np.ndarray, "batch seq_len"]) -> Int[np.ndarray, "batch positions"]:
        """Where one of `targets` leads on strings: a column of the maps for every row, -1 where it is not defined."""
        if target not in self.targets:
            raise ValueError(f"target = {target!r}: must be one of {', '.join(self.targets)}")
        return _targets(symbols, [self.hops[self.targets.index(target)]], self.offset)[0]

    def best_targets(self) -> pd.DataFrame:
        """For each layer and head the target of largest cosine, the first of several."""
        table = self.table()
        known = table[table["cosine"].notna()]
        return known.loc[known.groupby(["layer", "head"], sort=False)["cosine"].idxmax()].reset_index(drop=True)


def probe(attention_maps: Maps, symbols: Int[np.ndarray, "batch seq_len"], *, num_hops: int, offset: int = 1) -> ProbeResult:
    """Compare attention with the previous token and with find^0 to find^J.

    Args:
        attention_maps: weights in [0, 1], rows are the positions that look; numpy or torch, any floating-point type.
        symbols: the N symbols of each string.
        num_hops: J >= 0.
        offset: tokens before the first symbol, 1 for the hop token: symbol i, counted from 1, is row i - 1 + offset.

    Returns:
        Scores by layer, head and target. The previous token is defined for symbols 2..N, find^j where it is not 0.

    Raises:
        ValueError: arrays that don't fit each other, weights that are not finite or outside [0, 1], a number out of range.

    Source: Sanford, Hsu and Telgarsky 2024, appendix G.4; the restriction to defined rows is derived here: the other rows, where
    a head has to look somewhere too, lower the score of a perfect head.
    """
    maps, strings = _checked_maps(attention_maps), np.asarray(symbols)
    num_hops, offset = checked_integer("num_hops", num_hops, 0), checked_integer("offset", offset, 0)
    if strings.ndim != 2 or maps.shape[1] != len(strings) or maps.shape[3] != strings.shape[1] + offset:
        shape = tuple(maps.shape)
        raise ValueError(f"symbols of shape {strings.shape}: ({shape[1]}, {shape[3] - offset}) fits maps of shape {shape}")
    gathered = _Gathered(num_hops, offset)
    gathered.add(maps, strings)
    return gathered.result()


def probe_model(
    model: MappedModel,
    task: HopTask,
    num_hops: int,
    *,
    most: int | None = None,
    num_strings: int = 10,
    seed: int = 0,
    strings: Int[np.ndarray, "strings seq_len"] | None = None,
    repeats: bool = False,
) -> ProbeResult:
    """Ask a model hop_k on strings, in eval mode, and probe where its heads look.

    Args:
        model: built or trained, with `attention_maps(tokens)`; its modes are restored.
        task: its token format.
        num_hops: k, within the task's.
        most: largest j of the targets find^j; k if None, but at least 1.
        num_strings: how many strings are drawn, as `empirical.hop_errors.drawn_strings` does for this seed and k.
        seed: of the draws.
        strings: symbols of the strings instead.
        repeats: whether drawn strings may have equal neighbours. They have find^1(i) = i there, so that targets coincide.

    Raises:
        ValueError: as `probe`; k outside the task; a model without attention maps.
    """
    if not isinstance(model, MappedModel):
        raise ValueError(f"model is a {type(model).__name__}: must have the method attention_maps(tokens)")
    task.hop_token(num_hops)
    most = max(num_hops, 1) if most is None else checked_integer("most", most, 0)
    if strings is None:
        count, seed = checked_integer("num_strings", num_strings, 1), checked_integer("seed", seed, 0)
        strings = drawn_strings(task, count, seed=seed, num_hops=num_hops, repeats=repeats)
    tokens = np.asarray(task.tokens(strings, num_hops), dtype=np.int64)
    gathered, device, start, each = _Gathered(most), device_of(model), 0, 1
    with evaluated(model):
        while start < len(tokens):
            part = slice(start, start + each)
            maps = _checked_maps(model.attention_maps(torch.as_tensor(tokens[part], device=device)))
            gathered.add(maps, np.asarray(strings)[part])
            start += each
            each = max(1, CHUNK_ELEMENTS * len(tokens[part]) // max(1, int(np.prod(maps.shape))))  # known from the first on
    return gathered.result()


MECHANISM_COLUMNS = ("layer", "previous_token", "attended", "most", "doubling_most", "content_most", "verdict")


def mechanism(result: ProbeResult, cut: float = 0.9) -> pd.DataFrame:
    """Which hops the heads of each layer make, and whether plain pointer doubling could make them.

    Entering layer l >= 3 plain doubling (recipe A) knows find^j for j <= 2^(l-3) at the most, so that no head of it attends
    further; a content hop (recipe B) knows j <= 2^(l-2) - 1 and attends one further. Layer 2 attends to find^1 in both.

    Args:
        result: of a probe.
        cut: a head makes the hop find^j if its cosine is at least this.

    Returns:
        A row per layer with MECHANISM_COLUMNS: the largest cosine with the previous token; j >= 1 of the hops made by some head,
        as a text "1, 2"; the largest, <NA> for none; the two limits, 0 in layer 1; and "none", "plain doubling" (within both
        limits), "content hop" (beyond plain doubling) or "beyond both". It says what heads look at, not how they find it; on
        strings with equal neighbours targets coincide, and it says nothing.

    Raises ValueError unless 0 < cut <= 1. Derived here.
    """
    if not 0 < cut <= 1:
        raise ValueError(f"cut = {cut}: a number above 0 and up to 1 is legal")
    rows = []
    for layer, cosines in enumerate(result.cosine, start=1):
        best = np.nanmax(np.where(np.isnan(cosines), -1.0, cosines), axis=0, initial=-1.0)
        made = [hops for hops, score in zip(result.hops, best, strict=True) if hops and score >= cut]
        doubling = 2 ** max(layer - 3, 0) if layer > 1 else 0
        content = 2 ** (layer - 2) if layer > 1 else 0
        most = max(made, default=0)
        verdict = "plain doubling" if most <= doubling else "content hop" if most <= content else "beyond both"
        rows.append({
            "layer": layer, "previous_token": float(best[result.hops.index(None)]), "attended": ", ".join(map(str, made)),
            "most": most or None, "doubling_most": doubling, "content_most": content, "verdict": verdict if made else "none",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(MECHANISM_COLUMNS)).astype({"most": "Int64"})


class _Gathered:
    """Sums over strings, so that maps of many strings are never held at once."""

    def __init__(self, num_hops: int, offset: int = 1) -> None:
        self.offset = offset
        self.hops: tuple[int | None, ...] = (None, *range(num_hops + 1))
        self.totals: dict[str, Float[np.ndarray, "layers heads targets"]] = {}
        self.decisive: Float[np.ndarray, "layers heads"] | float = 0.0
        self.rows = np.zeros(len(self.hops), dtype=int)
        self.strings = np.zeros(len(self.hops), dtype=int)
        self.count = 0

    def add(self, maps: Maps, symbols: Int[np.ndarray, "batch seq_len"]) -> None:
        targets = _targets(symbols, self.hops, self.offset)
        self.rows += (targets >= 0).sum(axis=(1, 2))
        self.strings += (targets >= 0).any(axis=2).sum(axis=1)
        self.count += len(symbols)
        decisive, totals = [], []
        for layer in maps:
            one = layer.cpu().double().numpy() if isinstance(layer, Tensor) else np.asarray(layer, dtype=float)
            decisive.append(decisiveness(one).sum(axis=0))
            totals.append({name: np.nansum(of, axis=1).T for name, of in string_scores(one, targets).items()})
        self.decisive = self.decisive + np.stack(decisive)
        for name in SCORES:
            self.totals[name] = self.totals.get(name, 0.0) + np.stack([one[name] for one in totals])

    def result(self) -> ProbeResult:
        counts = np.where(self.strings > 0, self.strings, np.nan)
        scores = {name: total / counts for name, total in self.totals.items()}
        return ProbeResult(self.hops, scores, np.asarray(self.decisive / self.count), self.rows, self.strings, self.offset)


def _targets(
    symbols: Int[np.ndarray, "batch seq_len"], hops: Sequence[int | None], offset: int
) -> Int[np.ndarray, "targets batch positions"]:
    """Columns that rows are to attend to, -1 for rows without one."""
    batch, length = symbols.shape
    made = np.full((len(hops), batch, length + offset), -1)
    for place, num_hops in enumerate(hops):
        found = np.broadcast_to(np.arange(length), symbols.shape) if num_hops is None else find(symbols, num_hops)
        made[place, :, offset:] = np.where(found > 0, found - 1 + offset, -1)
    return made


def _checked_maps(maps: Maps) -> Maps:
    maps = maps.detach() if isinstance(maps, Tensor) else np.asarray(maps)
    if maps.ndim != 5 or maps.shape[3] != maps.shape[4] or not all(maps.shape):
        raise ValueError(f"attention_maps of shape {tuple(maps.shape)}: (layers, batch, heads, positions, positions) is legal")
    for layer in maps:
        least, most = float(layer.min()), float(layer.max())  # NaN in an array makes both NaN
        if not (least >= 0 and most <= 1 + 1e-3):  # rows in half precision sum to 1 up to 1e-3
            raise ValueError(f"attention_maps has weights from {least:g} to {most:g}: 0 to 1 are legal")
    return maps
