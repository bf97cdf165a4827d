"""What the figures on hops share: one colour and marker for each depth, words for who measured what, checks of columns."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from empirical.published_hops import DROPOUT_OFF, DROPOUT_ON
from headcount.figures import style

BUILT_LOOKS: dict[str, dict[str, Any]] = {
    "A": {"marker": "s", "markersize": 5.5, "color": style.GREEN, "fillstyle": "none"},
    "B": {"marker": "D", "markersize": 2.6, "color": style.PURPLE, "fillstyle": "full"},
    "C": {"marker": "x", "markersize": 4.0, "color": style.BLUE, "fillstyle": "full"},
}
"""By recipe; they lie on one another where all are exact, so that each leaves the others to be seen."""
OTHER_BUILT: dict[str, Any] = {"marker": "+", "markersize": 5.0, "color": style.BLACK, "fillstyle": "full"}


def depth_looks(depths: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Colour and marker by number of layers, from light to dark."""
    ordered = sorted(set(depths))
    colours = style.in_order(len(ordered))
    return {
        depth: {"color": colour, "marker": style.MARKERS[place % len(style.MARKERS)]}
        for place, (depth, colour) in enumerate(zip(ordered, colours, strict=True))
    }


def dropout_on(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows were read with dropout on; ValueError where a published one doesn't say how it was read."""
    unknown = sorted(set(rows.loc[rows["kind"] == "published", "name"]) - {DROPOUT_ON, DROPOUT_OFF})
    if unknown:
        raise ValueError(f"published row has name = {unknown[0]!r}: must be {DROPOUT_ON!r} or {DROPOUT_OFF!r}")
    return rows["name"] == DROPOUT_ON


def width_words(num_heads: Any, embed_dim: Any) -> str:
    """For example "4 heads, width 128"; what is missing is left out."""
    parts = [] if pd.isna(num_heads) else [f"{num_heads} head{'' if num_heads == 1 else 's'}"]
    return ", ".join(parts + ([] if pd.isna(embed_dim) else [f"width {embed_dim}"]))


def size_words(seq_len: Any, vocab_size: Any) -> str:
    """For example "$N=98$, $|\\Sigma|=4$"."""
    return f"$N={seq_len}$, $|\\Sigma|={vocab_size}$"


def samples_words(train_samples: Any) -> str:
    """What training drew from, if from a finite set."""
    return "" if pd.isna(train_samples) else f"{int(train_samples):,} strings"


def tier_words(tiers: Iterable[str]) -> str:
    """For example "quick tier"; empty without a tier."""
    named = sorted({tier for tier in tiers if tier})
    return f"{' and '.join(named)} tier{'s' if len(named) > 1 else ''}" if named else ""
