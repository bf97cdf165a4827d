"""What `headcount landscape` does, once its arguments are read. Everything slow to import is imported here."""

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.progress import BarColumn, TimeElapsedColumn
from rich.table import Table

from empirical.cell_store import CellStore
from empirical.landscape import Landscape, LandscapeSpec, cell_name, check_record, landscape, record
from headcount import console
from headcount._output import checked_file, output_folder
from headcount._progress import progress_bar
from headcount.figures.landscape import draw
from theory._whole_files import whole_files

QUICK = {"vocab_size": 10, "embed_dim": 2}
FULL = {"vocab_size": 50, "embed_dim": 10}
BUDGET_SECONDS = {True: 45.0, False: 240.0}
CELLS = "landscape-cells"


def run(
    *,
    vocab_size: int | None,
    embed_dim: int | None,
    head_dim: int | None,
    num_tables: int,
    num_models: int,
    quick: bool,
    fresh: bool,
    record_file: Path | None,
    out: Path,
) -> None:
    """One figure and one table of every method; see the command's help."""
    if record_file is not None and not fresh:
        raise ValueError(f"--record {record_file}: legal together with --fresh only, which uses nothing that is on record")
    default = QUICK if quick else FULL
    spec = LandscapeSpec(
        vocab_size=vocab_size or default["vocab_size"],
        embed_dim=embed_dim or default["embed_dim"],
        head_dim=head_dim,
        table_seeds=tuple(range(num_tables)),
        num_models=num_models,
    )
    with output_folder(out, "--out") as folder:
        places = [checked_file(folder / f"landscape.{suffix}", "--out", {}) for suffix in ("csv", "png", "pdf")]
        if record_file is not None:
            checked_file(record_file, "--record", {f"{place.name} of this command": place for place in places})
            if record_file.resolve() in [place.resolve() for place in places]:
                raise ValueError(f"--record {record_file}: is a file that this command writes; another is legal")
            check_record(record_file)
        store = CellStore(folder / CELLS)
        with _progress() as report:
            try:
                found = landscape(spec, store=store, fresh=fresh, budget_seconds=BUDGET_SECONDS[quick], progress=report)
            except KeyboardInterrupt:
                console.warn(f"finished parts are kept in {store.folder}: the same command goes on from there")
                raise
        with whole_files(*places) as (data, png, pdf):
            found.table.to_csv(data, index=False)
            draw(found.table, png, pdf)
        if record_file is not None:
            with whole_files(record_file) as (partial,):
                record(record_file, found).to_csv(partial, index=False)
    _show(found)
    for place in places:
        console.say(f"{place.suffix[1:].upper()} {place}")
    if record_file is not None:
        console.say(f"record {record_file}")


def _show(found: Landscape) -> None:
    spec = found.spec
    setting = f"N = {spec.vocab_size}, S = 2, d = {spec.embed_dim}, d_h = {spec.width}"
    table = Table(
        title=f"Heads for everything: {spec.num_associations:,} associations, {setting}",
        caption=_caption(found),
        title_justify="left", caption_justify="left", title_style="bold", caption_style="none",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    table.add_column("kind", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for heading in ("heads", "range", "got there", "99% of it", "seconds", "source"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.headline.to_dict("records"):
        heads = f"{row['heads']:.0f}" if not math.isnan(row["heads"]) else f"> {row['most_tried']}"
        if row["name"] in {cell.spec.get("name", cell.method) for cell in found.missing}:
            heads += " *"
        ends = "" if math.isnan(row["least"]) else f"{row['least']:.0f}..{row['most']:.0f}"
        table.add_row(
            row["kind"], row["name"], heads, ends, f"{row['reached']} of {row['tried']}",
            console.number(row["heads_99"], ".0f"), console.number(row["seconds"], ".3g"), row["origin"],
        )  # fmt: skip
    console.show(table)
    for line in ratios(found.headline):
        console.say(line)


def ratios(headline: pd.DataFrame) -> list[str]:
    """The best built and the best solved count against the trained one, in words."""
    rows = headline.to_dict("records")

    def best(kind: str) -> dict[Hashable, Any] | None:
        reached = [row for row in rows if row["kind"] == kind and row["transformer"] and not math.isnan(row["heads"])]
        return min(reached, key=lambda row: float(row["heads"]), default=None)

    trained, most = best("trained"), max((int(row["most_tried"]) for row in rows if row["kind"] == "trained"), default=0)
    lines = []
    for kind in ("built", "solved"):
        found = best(kind)
        if found is None or not most:
            continue
        mine = f"{kind} / trained: {found['name']} {found['heads']:.0f} heads"
        if trained is not None:
            lines.append(f"{mine} / Adam {trained['heads']:.0f} = {found['heads'] / trained['heads']:.2f}")
        else:
            few = f"Adam with {most} holds everything in fewer than half of its models"
            lines.append(f"{mine}; {few}: ratio below {found['heads'] / most:.2f}")
            lines.extend(
                f"  Adam holds the {row['shown']:,.0f} that its draws contain with {row['heads_shown']:.0f} heads: "
                f"{found['heads'] / row['heads_shown']:.2f}"
                for row in rows
                if row["kind"] == "trained" and not math.isnan(row["heads_shown"])
            )
    return lines


def _caption(found: Landscape) -> str:
    models = found.headline[found.headline["kind"].eq("trained")]
    lines = [
        "heads: median of the fewest that held everything, over label tables (over models, where trained)",
        "99% of it: likewise for 99%; seconds: for one model that holds everything",
        *(f"{row['name']}: fewest among {row['grid']}" for row in found.headline.to_dict("records") if row["grid"]),
        "source: computed now, or stored (the dates and specifications are in the CSV; --fresh computes all anew)",
    ]
    dates = sorted({str(date) for date in found.table.loc[found.table["origin"].eq("stored"), "date"].dropna()})
    if dates:
        lines.append(f"stored results are of {console.few(dates)}")
    if len(models):
        diverged = int(found.table["num_diverged"].fillna(0).sum())
        lines.append(f"trained: {found.spec.num_models} models for each H, the paper's schedule; {diverged} diverged")
    certain = found.table[found.table["kind"].ne("bound") & found.table["certified"].notna()]
    proved = int((certain["certified"].astype(float) == certain["held"].astype(float)).sum())
    lines.append(f"{proved} of {len(certain)} models have every held association proved in exact arithmetic")
    for method, why in sorted({(cell.method, why) for cell, why in found.refused}):
        lines.append(f"{method} excludes this: {why}")
    if found.missing:
        names = console.few([cell_name(cell) for cell in found.missing], 4)
        lines.append(f"* {len(found.missing)} parts not done for lack of time ({names}): the same command again goes on")
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr while the context is open, gone afterwards."""
    with progress_bar("{task.completed}/{task.total}", BarColumn(), "{task.description}", TimeElapsedColumn()) as bar:
        row = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(row, completed=done, total=total, description=name)
