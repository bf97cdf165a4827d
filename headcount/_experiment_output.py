"""What `headcount figure` and `headcount table` do: results of a store as figures with their data, and as tables."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import pandas as pd
from rich import box
from rich.table import Table

from empirical import experiments
from empirical.cells import DeviceKind
from empirical.experiments import EXPERIMENTS, Experiment, Tier
from empirical.store import Store
from empirical.training import Variant
from headcount import console
from headcount._experiments import command, deviation_table, existing
from headcount._output import output_folder, write_figure
from headcount.figures import experiments as drawing
from headcount.figures.latex import experiment_table

Draw = Callable[[Path, Path], None]


class Tables:
    """Tables of results out of one store, each made once."""

    def __init__(self, store: Store, tier: Tier, device: DeviceKind, seed: int) -> None:
        self.store, self.tier, self.device, self.seed = store, tier, device, seed
        self.made: dict[tuple[str, Variant], pd.DataFrame] = {}

    def get(self, name: str, variant: Variant) -> pd.DataFrame:
        """The results of an experiment; trained rows are there for the points that have any."""
        if (name, variant) not in self.made:
            experiment = EXPERIMENTS[name]
            self.made[name, variant] = experiments.results(
                experiment, self.store, self.tier, variant, device=self.device, seed=self.seed
            )
        return self.made[name, variant]


def has_results(table: pd.DataFrame) -> bool:
    """Whether any point was trained."""
    trained = table[table["kind"] == "trained"]
    return bool(trained["draw_accuracy"].notna().any())


def figures(
    *,
    names: Sequence[str],
    tier: Tier,
    variant: Variant,
    device: DeviceKind,
    seed: int,
    store_file: Path,
    out: Path,
) -> None:
    """Draw what is asked for; with `all`, what there are results for."""
    chosen = _chosen(names)
    other = (f"-{device}" if device != "cpu" else "") + (f"-seed-{seed}" if seed else "")
    with output_folder(out, "--out") as folder, existing(store_file) as store:
        tables = Tables(store, tier, device, seed)
        left_out: list[str] = []
        for name in chosen:
            again = name in drawing.REANALYSES
            made = _reanalysis(name, tables) if again else _experiment(name, tables.get(name, variant))
            if made is not None:
                write_figure(folder, f"{name}-{tier}{other}" if again else f"{name}-{tier}-{variant}{other}", *made)
            elif "all" in names:
                left_out.append(name)
            elif again:
                raise ValueError(f"NAME {name}: the store has no results of tier {tier} for it; see headcount run --help")
            else:
                raise ValueError(_nothing(name, tier, variant, device, seed, store_file))
        if left_out:
            console.warn(f"left out, without results of tier {tier}: {', '.join(left_out)}")


def _chosen(names: Sequence[str]) -> list[str]:
    """Experiments and re-analyses by name, each once."""
    found: dict[str, None] = {}
    for name in names:
        if name in drawing.REANALYSES:
            found[name] = None
            continue
        found.update(dict.fromkeys(experiment.name for experiment in _named(name)))
        if name == "all":
            found.update(dict.fromkeys(drawing.REANALYSES))
    return list(found)


def _named(name: str) -> tuple[Experiment, ...]:
    try:
        return experiments.named(name)
    except ValueError as error:
        raise ValueError(f"{error}; for figures also {', '.join(drawing.REANALYSES)}") from None


def _experiment(name: str, table: pd.DataFrame) -> tuple[pd.DataFrame, Draw] | None:
    """Data and drawing of an experiment's figure; None without results."""
    return (table, partial(drawing.draw, name, table)) if has_results(table) else None


def _reanalysis(name: str, tables: Tables) -> tuple[pd.DataFrame, Draw] | None:
    """The same of a re-analysis; None where the tables that it can't do without have no results."""
    given = {
        f"{one} {variant}": table
        for one in ("exp_1", "exp_2", "exp_3")
        for variant in get_args(Variant)
        if has_results(table := tables.get(one, variant)) and (name != "variants" or one == "exp_2")
    }
    needed = 2 if name == "variants" else 1
    return (pd.concat(given.values()), partial(drawing.draw_reanalysis, name, given)) if len(given) >= needed else None


def table(
    *,
    name: str,
    tier: Tier,
    variant: Variant,
    device: DeviceKind,
    seed: int,
    store_file: Path,
    latex: bool,
    published_file: Path | None,
) -> None:
    """Print one experiment."""
    if name not in EXPERIMENTS:
        raise ValueError(f"NAME {name}: legal are {', '.join(EXPERIMENTS)}")
    if published_file is not None and (latex or variant != "notebook"):
        raise ValueError(f"--published {published_file}: legal for the notebook variant only, and without --latex")
    with existing(store_file) as store:
        found = Tables(store, tier, device, seed).get(name, variant)
    if not has_results(found):
        raise ValueError(_nothing(name, tier, variant, device, seed, store_file))
    if latex:
        console.say(experiment_table(found))
        return
    if published_file is not None:
        console.show(deviation_table(experiments.deviations(found, published=_read(published_file)), name))
        return
    console.show(result_table(found, EXPERIMENTS[name], tier, variant))


def _nothing(name: str, tier: Tier, variant: Variant, device: DeviceKind, seed: int, store_file: Path) -> str:
    how = command("run", name, tier=tier, variant=variant, device=device, seed=seed, store=store_file)
    return f"NAME {name}: {store_file} has no results of tier {tier}, variant {variant}, seed {seed}; `{how}` makes them"


def result_table(found: pd.DataFrame, experiment: Experiment, tier: Tier, variant: Variant) -> Table:
    """One line per trained point."""
    trained = found[found["kind"] == "trained"]
    bounds = found[(found["kind"] == "bound") & (found["name"] == "corollary_1")]
    published = found[found["kind"] == "published"]
    cut = ", not converged" if tier == "smoke" else ""
    shown = Table(
        title=f"{experiment.title} ({experiment.name}, {tier} tier{cut}, {variant} variant)",
        caption="draws: accuracy on training draws, as published; uniform: each association once, as Corollary 1 has it",
        title_justify="left", caption_justify="left", title_style="bold", caption_style="none",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    headings = {"d": "embed_dim", "d_h": "head_dim", "H": "num_heads", "L": "num_layers", "MLP": "mlp_width"}
    used = {label: column for label, column in headings.items() if label in ("d", "d_h", "H") or trained[column].nunique() > 1}
    for heading in (*used, "models", "draws [95%]", "published", "uniform [95%]", "Cor. 1", "missing"):
        shown.add_column(heading, justify="right", no_wrap=True)
    point = list(headings.values())
    for row in trained.to_dict("records"):
        same = [dict(other) for rows in (published, bounds) for other in rows.to_dict("records") if _same(other, row, point)]
        by_kind = {str(other["kind"]): other for other in same}
        shown.add_row(
            *(str(int(row[column])) for column in used.values()),
            str(int(row["num_models"]) - int(row["num_diverged"])),
            _interval(row, "draw_accuracy"),
            console.number(float(by_kind["published"]["draw_accuracy"])) if "published" in by_kind else "-",
            _interval(row, "accuracy"),
            console.number(float(by_kind["bound"]["accuracy"])) if "bound" in by_kind else "-",
            str(int(row["num_missing"])),
        )
    return shown


def _same(one: dict[object, object], other: dict[object, object], columns: Sequence[str]) -> bool:
    return all(pd.isna(one[column]) or one[column] == other[column] for column in columns)  # type: ignore[call-overload]


def _interval(row: dict[object, object], column: str) -> str:
    mean, low, high = (float(str(row[f"{column}{end}"])) for end in ("", "_low", "_high"))
    return f"{console.number(mean)} [{console.number(low)}, {console.number(high)}]" if low == low else console.number(mean)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ValueError(f"--published {path}: is no CSV table ({' '.join(str(error).split())})") from None
