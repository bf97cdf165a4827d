"""Kaplan against Chinchilla by how parameters are counted: the same optimum, in total and in non-embedding parameters."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from headcount.figures import style
from headcount.figures._scaling_looks import LINE_STYLES, SHADE, legend_below, letters, log_axis
from headcount.figures.table import check_columns
from theory.parameter_counting import KAPLAN_SIZES, reconciliation
from theory.scaling import PUBLISHED, HoffmannLaw
from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN

TABLE_COLUMNS = ("row", "law", "parameters", "total_parameters", "tokens", "compute", "total_compute", "loss", "local_slope",
                 "line", "exponent")
LAW = "besiroglu2024"
KAPLAN_EXPONENT = 0.73
"""Kaplan et al. 2020, section 6.1: N ~ C_min^0.73, in non-embedding parameters."""
SIZES = (1e0, 1e13)
"""Non-embedding parameters: far to both sides of Kaplan's, so that both limits are seen."""
DENSITY = 12
"""Sizes a decade."""
TOTAL: dict[str, Any] = {"color": style.ORANGE, "marker": "s", "fillstyle": "none", "linestyle": LINE_STYLES[1]}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("limit for tiny models", {"color": style.GREEN, "linestyle": (0, (1, 1.2))}),
    "large": ("limit for large models", {"color": style.BLACK, "linestyle": (0, (5, 1.5))}),
    "global": ("one line over Kaplan's sizes", {"color": style.VERMILLION, "linestyle": (0, (5, 1.2, 1, 1.2))}),
    "kaplan": ("Kaplan et al. 2020", {"color": style.PURPLE, "linestyle": (0, (3, 1, 1, 1, 1, 1))}),
}


def counting_table(law: str = LAW) -> pd.DataFrame:
    """The data of `counting_drawing`: rows "size" of the optimum by non-embedding size, rows "exponent" for the horizontal lines.

    `line` of the latter is tiny, large (limits of the local slope), global (least squares over Kaplan's sizes) or kaplan.
    Compute is 6 N D with the parameters counted as said; `local_slope` is d ln N / d ln C, both non-embedding.

    Args:
        law: a key of `theory.scaling.PUBLISHED` whose law is Hoffmann's, in total parameters.

    Raises:
        ValueError: another key, or a law of another form.
    """
    if law not in PUBLISHED or not isinstance(PUBLISHED[law].law, HoffmannLaw):
        legal = ", ".join(name for name, one in PUBLISHED.items() if isinstance(one.law, HoffmannLaw))
        raise ValueError(f"law = {law!r}: must be one of {legal}")
    chosen = PUBLISHED[law].law
    assert isinstance(chosen, HoffmannLaw)
    sizes = np.unique(np.append(np.geomspace(*SIZES, int(DENSITY * np.log10(SIZES[1] / SIZES[0])) + 1), KAPLAN_SIZES))
    found, own = reconciliation(chosen, sizes), reconciliation(chosen)
    total = FLOPS_PER_PARAMETER_TOKEN * found.total_parameters * found.tokens
    rows = pd.DataFrame({
        "row": "size", "law": law, "parameters": found.parameters, "total_parameters": found.total_parameters,
        "tokens": found.tokens, "compute": found.compute, "total_compute": total,
        "loss": found.loss, "local_slope": found.local_slopes,
    })  # fmt: skip
    exponents = {"tiny": own.tiny_limit, "large": own.large_limit, "global": own.global_slope, "kaplan": KAPLAN_EXPONENT}
    lines = pd.DataFrame({"row": "exponent", "law": law, "line": list(exponents), "exponent": list(exponents.values())})
    return pd.concat([rows, lines], ignore_index=True).reindex(columns=list(TABLE_COLUMNS))


def counting_drawing(table: pd.DataFrame) -> Figure:
    """Optimal size against compute over Kaplan's sizes, counted in both ways (a); exponent of N by size, with its limits (b).

    Args:
        table: of `counting_table`.

    Raises:
        ValueError: a column is missing or there are no rows.
    """
    check_columns(table, TABLE_COLUMNS, "headcount.figures.scaling.counting_figure")
    sizes = table[table["row"] == "size"].sort_values("parameters")
    exponents = table[table["row"] == "exponent"].set_index("line")["exponent"]
    inside = sizes[sizes["parameters"].between(KAPLAN_SIZES[0] * (1 - 1e-9), KAPLAN_SIZES[1] * (1 + 1e-9))]
    with style.styled():
        made = Figure(figsize=(style.PAGE_WIDTH, 3.5), layout="constrained")
        left, right = made.subplots(1, 2)
        both: dict[str, Any] = {"zorder": 3, "markevery": 8, "markersize": 3.5}
        left.plot(inside["compute"], inside["parameters"], color=style.BLUE, marker="o", gid="non-embedding optimum", **both)
        left.plot(inside["total_compute"], inside["total_parameters"], gid="total optimum", **TOTAL | both | {"zorder": 4})
        logs = np.log(inside["compute"].to_numpy())
        middle = np.array([logs.mean(), np.log(inside["parameters"].to_numpy()).mean()])
        line = np.exp(middle[1] + exponents["global"] * (logs - middle[0]))
        left.plot(inside["compute"], line, linewidth=1.0, zorder=2, gid="line over the sizes", **LINES["global"][1])
        left.set_xlabel("training compute $C=6ND$ (FLOP)")
        left.set_ylabel("optimal parameters $N$")
        right.plot(sizes["parameters"], sizes["local_slope"], color=style.BLUE, zorder=4, gid="local slope")
        right.axvspan(*KAPLAN_SIZES, zorder=1, gid="sizes of Kaplan et al.", **SHADE)
        for name, value in exponents.items():
            right.axhline(value, zorder=2, linewidth=1.1, gid=f"exponent: {name}", **LINES[str(name)][1])
        right.set_xlim(sizes["parameters"].min(), sizes["parameters"].max())
        right.set_xlabel("non-embedding parameters $N$")
        right.set_ylabel("exponent $d\\,\\ln N/d\\,\\ln C$, non-embedding")
        for axis in (left.xaxis, left.yaxis, right.xaxis):
            log_axis(axis)
        letters((left, right))
        handles: list[Any] = [
            Line2D([], [], color=style.BLUE, marker="o", markersize=3.5, label="a, b: non-embedding $N$ and $C$"),
            Line2D([], [], markersize=3.5, label="a: total $N$ and $C$", **TOTAL),
            *(Line2D([], [], linewidth=1.1, label=f"{LINES[str(name)][0]}: {value:.3g}", **LINES[str(name)][1])
              for name, value in exponents.items()),
            Patch(label="b: sizes of Kaplan et al. 2020", **SHADE),
        ]
        legend_below(made, handles, 3, f"law in total parameters: {table['law'].iloc[0]}")
    return made
