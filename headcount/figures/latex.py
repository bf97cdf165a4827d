"""Results of an experiment as LaTeX tables, for a document of class article with the package booktabs."""

import json
import unicodedata
from collections.abc import Sequence
from math import isnan
from typing import Any

import pandas as pd

from headcount.figures.table import one_setting

SETTING = ("vocab_size", "seq_len", "num_associations")
POINT = ("series", "vocab_size", "embed_dim", "head_dim", "num_heads", "num_layers", "mlp_width")
VALUES = ("accuracy", "accuracy_low", "accuracy_high", "draw_accuracy", "draw_accuracy_low", "draw_accuracy_high")
COUNTS = ("num_models", "num_diverged", "num_missing", "num_failed")
TEXT = ("experiment", "kind", "name", "tier", "variant", "versions", "source")
COLUMNS = tuple(dict.fromkeys((*TEXT, "nominal_parameters", *POINT, *VALUES, *COUNTS, *SETTING)))
SIZES = {
    "vocab_size": "$N$", "embed_dim": "$d$", "head_dim": "$d_h$", "num_heads": "$H$", "num_layers": "$L$", "mlp_width": "MLP",
}  # fmt: skip
TRIVIAL = {"num_layers": 1, "mlp_width": 0}
"""Sizes that get no column where no row has another."""
ROWS_ON_A_PAGE = 40
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
DASH = "--"


def experiment_table(table: pd.DataFrame) -> str:
    r"""One row per point: sizes, parameters, accuracies with intervals, published value, bound.

    Needs `\usepackage{booktabs}` and nothing else. More points than fit on a page become several tables, the first
    of which has the whole caption. Text from the table is escaped, so that no content breaks the document.

    Args:
        table: rows of `empirical.experiments.results`, of one N, S and T0.

    Returns:
        LaTeX, with a newline at the end. "0.506 \pm 0.012" is a mean over models and half the width of its 95% Student interval,
        a dash what is not known.

    Raises:
        ValueError: a column is missing, no rows, rows of several settings, two rows of one kind for one point.
    """
    setting = one_setting(table, COLUMNS, SETTING, "empirical.experiments.results")
    rows = table[list(COLUMNS)].copy()
    for name in ("series", "kind", "name"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "")
    sizes = [name for name in SIZES if name not in TRIVIAL or (rows[name].astype(float) != TRIVIAL[name]).any()]
    points = rows[rows["kind"].eq("trained")]
    curves = bool(points.duplicated(subset=sizes).any())  # one shape in two curves, trained by other schedules
    lines = _lines(rows, sizes, curves)
    header = [*(SIZES[name] for name in sizes), "param.", "draws", "table", "published", "Cor.\\,1"]
    header = ["curve", *header] if curves else header
    parts = -(-len(lines) // ROWS_ON_A_PAGE)
    size = -(-len(lines) // parts)
    words = "-".join(filter(None, (_text(rows[name]) for name in ("experiment", "tier", "variant"))))
    label = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in words)
    made = []
    for part in range(parts):
        caption = _caption(rows, setting) if part == 0 else f"{_escaped(_text(rows['experiment']))}, continued."
        made += [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{label}{f'-{part + 1}' if part else ''}}}",
            rf"\begin{{tabular}}{{{'l' * curves}{'r' * (len(header) - curves)}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *lines[part * size : (part + 1) * size],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(made) + "\n"


def _lines(rows: pd.DataFrame, sizes: Sequence[str], curves: bool) -> list[str]:
    """The body, series by series in the table's order, with their names where they have `curves` in them."""
    lines = []
    for point, found in rows.groupby(list(POINT), sort=False, dropna=False):
        at = dict(zip(POINT, point, strict=True))
        trained, published = _one(found, "trained"), _one(found, "published")
        applies = at["num_layers"] == 1 and at["mlp_width"] == 0
        bound = _one(found, "bound", "corollary_1") if applies else None
        cells = [
            *([_escaped(str(at["series"]))] if curves else []),
            *(_whole(at[name]) for name in sizes),
            _whole(None if trained is None else trained["nominal_parameters"]),
            _mean(trained, "draw_accuracy"),
            _mean(trained, "accuracy"),
            _number(published, "draw_accuracy", 4),
            _number(bound, "accuracy", 3),
        ]
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _one(rows: pd.DataFrame, kind: str, name: str | None = None) -> "pd.Series[Any] | None":
    """The row of a kind at a point, None where there is none."""
    chosen = rows[rows["kind"].eq(kind) & (True if name is None else rows["name"].eq(name))]
    if len(chosen) > 1:
        raise ValueError(f"table has {len(chosen)} {kind} rows for one point of {rows['series'].iloc[0]!r}: must have one")
    return chosen.iloc[0] if len(chosen) else None


def _known(value: object) -> float:
    return float("nan") if value is None or pd.isna(value) else float(value)  # type: ignore[arg-type, call-overload]


def _number(row: "pd.Series[Any] | None", name: str, digits: int) -> str:
    value = float("nan") if row is None else _known(row[name])
    return DASH if isnan(value) else f"${value:.{digits}f}$"


def _mean(row: "pd.Series[Any] | None", name: str) -> str:
    """Mean and half-width of its interval."""
    if row is None or isnan(_known(row[name])):
        return DASH
    half = (_known(row[f"{name}_high"]) - _known(row[f"{name}_low"])) / 2
    return f"${_known(row[name]):.3f}$" if isnan(half) else rf"${_known(row[name]):.3f} \pm {half:.3f}$"


def _whole(value: object) -> str:
    number = _known(value)
    return DASH if isnan(number) else f"${number:,.0f}$".replace(",", "{,}")


def _caption(rows: pd.DataFrame, setting: dict[str, int]) -> str:
    """What a reader has to know of the numbers, escaped."""
    trained = rows[rows["kind"].eq("trained")]
    counts = trained["num_models"].fillna(0).astype(int)
    counts = counts[counts > 0]
    of = "no models"
    if len(counts):
        least, most = counts.min(), counts.max()
        of = f"{most if least == most else f'{least} to {most}'} model{'s' if most > 1 else ''} per point"
    tier = f"{_text(rows['tier'])} tier, {_text(trained['variant']) or 'no'} variant, {of}"
    sizes = f"$N = {setting['vocab_size']}$, $S = {setting['seq_len']}$, {_whole(setting['num_associations'])} associations"
    notes = [str(source).partition("; ")[2] for source in trained["source"].dropna().unique()]
    totals = {name: int(trained[name].fillna(0).sum()) for name in COUNTS[1:]}
    gaps = ", ".join(f"{total} models {name.removeprefix('num_')}" for name, total in totals.items() if total)
    interval = ": mean and half-width of its 95\\% interval" if len(counts) and counts.max() > 1 else ""
    sentences = [
        f"{_escaped(_text(rows['experiment']))}, {_escaped(tier)}; {sizes}.",
        *(f"Cut: {_escaped(note)}." for note in notes if note),
        "Not converged." if "smoke" in set(rows["tier"].dropna()) else "",
        f"Accuracy on training draws (as published) and on the table, each association once{interval}.",
        "Cor.\\,1: the bound of Dana, Pydi and Chevaleyre (2025), what is not held being guessed; it speaks of the table.",
        f"{_escaped(gaps)}." if gaps else "",
        f"Versions: {_escaped(_versions(trained))}." if _versions(trained) else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _versions(rows: pd.DataFrame) -> str:
    """"python 3.11.7, torch 2.13.0", of the rows that say; another text as it is."""
    found = []
    for text in rows["versions"].dropna().unique():
        try:
            listed = json.loads(text)
        except ValueError:
            listed = text
        found.append(", ".join(f"{name} {number}" for name, number in listed.items()) if isinstance(listed, dict) else str(text))
    return " / ".join(found)


def _text(column: "pd.Series[Any]") -> str:
    """The values of a column, each once."""
    return ", ".join(str(value) for value in column.dropna().unique())


def _escaped(text: str) -> str:
    """Text that LaTeX sets as it is: control characters become spaces, letters outside ASCII lose their accents or become "?"."""
    return "".join(SPECIAL.get(letter, letter) for given in text for letter in _in_ascii(given))


def _in_ascii(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else " "
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
