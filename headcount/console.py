"""What the commands print: tables for people, within eighty columns."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

NARROWEST = 80


def show(table: Table) -> None:
    """Print a table on stdout; where that is no terminal, as wide as it needs."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        wide = Console(width=10_000)
        console = Console(highlight=False, markup=False, emoji=False, width=max(NARROWEST, wide.measure(table).maximum))
    console.print(table)


def say(line: str) -> None:
    """Print one line on stdout as it is, never wrapped: paths must be fit for copying."""
    Console(highlight=False, markup=False, emoji=False).print(line, soft_wrap=True)


def warn(line: str) -> None:
    """Print one line on stderr as it is, never wrapped."""
    Console(stderr=True, highlight=False, markup=False, emoji=False).print(line, soft_wrap=True)


def facts(title: str, rows: Mapping[str, str]) -> Table:
    """Two columns: what, and how much."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def frame(title: str, *headings: str, left: Iterable[str] = ()) -> Table:
    """An empty table with these columns, numbers at the right, those in `left` at the left."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=True)
    return table


def comparison(frame: "pd.DataFrame") -> Table:
    """One line per number of heads, of the rows of `empirical.comparison.compare`.

    Accuracies are on the table of associations, each counted once; the last two columns are on training draws.
    """
    cells = _Cells(frame)
    first = frame.iloc[0]
    setting = f"N = {first.vocab_size}, S = {first.seq_len}, d = {first.embed_dim}, d_h = {first.head_dim}"
    table = Table(
        title=f"Accuracy on {first.num_associations:,} associations; {setting}",
        caption=cells.caption(),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="none",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    repaired = cells.repaired_differs()
    bounds = {"prev.": "previous", "Cor. 1": "corollary_1", **({"rep.": "corollary_1_repaired"} if repaired else {})}
    for heading in ("H", *bounds, "built", "prom.", "held", "trained [95%]", "draws", "publ."):
        table.add_column(heading, justify="right", no_wrap=True)
    for heads in cells.heads:
        table.add_row(
            str(heads),
            *(number(cells.value("bound", heads, "accuracy", name)) for name in bounds.values()),
            number(cells.value("built", heads, "accuracy")),
            number(cells.value("bound", heads, "held", "corollary_1_repaired"), ",.0f"),
            number(cells.value("built", heads, "held"), ",.0f"),
            cells.trained(heads),
            number(cells.value("trained", heads, "draw_accuracy")),
            number(cells.value("published", heads, "draw_accuracy")),
        )
    return table


def number(value: float, form: str = ".3f") -> str:
    """A number as text; a dash for what is not known."""
    return "-" if math.isnan(value) else format(value, form)


def few(things: Iterable[object], most: int = 5) -> str:
    """The first few of some numbers or names: "3, 4, 9" or "3, 4, 9, 12, 17, .."."""
    listed = list(things)
    return ", ".join([*map(str, listed[:most]), *([".."] if len(listed) > most else [])])


class _Cells:
    """The values of a comparison by kind, name and number of heads."""

    def __init__(self, frame: "pd.DataFrame") -> None:
        self.frame = frame
        self.heads = sorted({int(heads) for heads in frame["num_heads"]})

    def value(self, kind: str, heads: int, column: str, name: str | None = None) -> float:
        chosen = (self.frame["kind"] == kind) & (self.frame["num_heads"] == heads)
        if name is not None:
            chosen &= self.frame["name"] == name
        rows = self.frame.loc[chosen, column]
        return float(rows.iloc[0]) if len(rows) else math.nan

    def trained(self, heads: int) -> str:
        mean, low, high = (self.value("trained", heads, column) for column in ("accuracy", "accuracy_low", "accuracy_high"))
        return f"{number(mean)} [{number(low)}, {number(high)}]" if not math.isnan(low) else number(mean)

    def repaired_differs(self) -> bool:
        pairs = [[self.value("bound", heads, "accuracy", name) for name in ("corollary_1", "corollary_1_repaired")]
                 for heads in self.heads]
        return any(not math.isnan(repaired) and abs(plain - repaired) > 1e-12 for plain, repaired in pairs)

    def caption(self) -> str:
        chance = self.value("bound", self.heads[0], "accuracy", "chance")
        lines = [
            f"prev., Cor. 1: bounds, previous one and Corollary 1; chance is {number(chance)}",
            *(["rep.: Corollary 1 repaired, +min(d, K) for K distinct last tokens"] if self.repaired_differs() else []),
            "bounds hold what they promise (prom.) and guess the rest: 1/N of it on average",
            "built, held: accuracy and associations held of the weights made by hand",
            "draws, publ.: accuracy on training draws, of the models trained here and as",
            "published; all else is on the table of associations, each counted once",
        ]
        trained = self.frame[self.frame["kind"] == "trained"]
        if len(trained):
            models, diverged = trained["num_models"].max(), trained["num_diverged"].fillna(0).sum()
            lines.append(f"trained: {int(models)} models per H, {trained['variant'].iloc[0]} variant, {int(diverged)} diverged")
        return "\n".join(lines)
