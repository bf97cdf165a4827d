"""How all figures look: one column wide, told apart without colour, the same bytes for the same data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

COLUMN_WIDTH = 3.5
"""Width of one column of a paper, inches."""
PAGE_WIDTH = 7.2
"""Width of two columns, inches."""

# Okabe and Ito's palette, which readers with any of the common colour deficiencies can tell apart.
BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#767676"

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
"""For series with an order: one each, so that they are told apart in grey."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 1.0,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # whole TrueType fonts, which publishers take; type 3 they don't
    "ps.fonttype": 42,
    "svg.hashsalt": "headcount",
}


def in_order(count: int) -> tuple[str, ...]:
    """Colours for `count` series with an order, from light to dark: cividis, whose lightness falls evenly, so that grey print
    keeps the order; its lightest sixth, which is too pale for lines on white, is left out."""
    places = [0.84 * (1 - place / (count - 1)) if count > 1 else 0.3 for place in range(count)]
    return tuple(to_hex(matplotlib.colormaps["cividis"](place)) for place in places)


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults with `STYLE` on top, whatever the user's own settings; they are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in STYLE.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]  # checked at run time by matplotlib
        yield


def save(figure: Figure, png: Path, pdf: Path) -> None:
    """Write a figure as PNG and PDF, without date or program in the files: same figure, same bytes."""
    with styled():
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(pdf, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
