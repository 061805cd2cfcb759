"""One look for every figure: print sizes, and marks that survive grey and colour blindness.

Colours are those of Masataka Okabe and Kei Ito, "Color Universal Design" (2008). A name keeps its
colour, marker and line in every figure, so that colour alone never tells two apart.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches: both columns of a conference page
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "hatch.linewidth": 0.5,
    "text.usetex": False,
    "text.parse_math": False,  # a name with a dollar sign is a name, not mathematics
    "pdf.fonttype": 42,  # TrueType: what publishers ask for
    "svg.hashsalt": "fl_platform",  # equal figures give equal files
}


class Mark(NamedTuple):
    """How a series is drawn."""

    color: str
    marker: str
    line: Any
    hatch: str


_KNOWN = {
    "none": Mark(GREY, "", (0, (1, 1)), "...."),
    "absent": Mark(GREY, "", (0, (4, 1, 1, 1)), ""),
    "strike": Mark(VERMILION, "o", "-", ""),
    "bit_flip": Mark(SKY, "s", (0, (5, 1)), "////"),
    "lie": Mark(BLUE, "^", (0, (3, 1, 1, 1)), "\\\\\\\\"),
    "ipm": Mark(GREEN, "v", (0, (1, 1)), "xxxx"),
    "min_max": Mark(ORANGE, "D", (0, (5, 2, 1, 2)), "||||"),
    "min_sum": Mark(PURPLE, "P", (0, (3, 2)), "----"),
    "mimic": Mark(BLACK, "X", (0, (1, 2)), "++++"),
    "label_flip": Mark("#999933", "<", (0, (6, 1, 1, 1, 1, 1)), "oooo"),
    "mean": Mark(GREY, "", (0, (1, 1)), ""),
    "multi_krum": Mark(VERMILION, "o", "-", ""),
    "median": Mark(BLUE, "^", (0, (5, 1)), ""),
    "rfa": Mark(GREEN, "s", (0, (3, 1, 1, 1)), ""),
    "aksel": Mark(ORANGE, "D", (0, (1, 1)), ""),
    "centered_clipping": Mark(PURPLE, "v", (0, (5, 2, 1, 2)), ""),
    "dnc": Mark(BLACK, "X", (0, (3, 2)), ""),
    "trimmed_mean": Mark(SKY, "P", (0, (6, 1, 1, 1, 1, 1)), ""),
}
_FREE = [
    Mark(color, marker, line, hatch)
    for marker, line, hatch in (
        ("h", "-", "**"),
        (">", (0, (2, 1)), ".."),
        ("*", (0, (7, 2)), "O"),
    )
    for color in (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK, SKY)
]


def marks(names: list[str]) -> dict[str, Mark]:
    """A mark for each name: the usual one of a known rule, a free one for the others, in order."""
    unknown = [name for name in dict.fromkeys(names) if name not in _KNOWN]
    spare = {name: _FREE[index % len(_FREE)] for index, name in enumerate(unknown)}
    return {name: _KNOWN.get(name) or spare[name] for name in names}


@contextmanager
def styled() -> Iterator[None]:
    """Draws and saves inside it have the look of this file."""
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def panels(
    count: int, columns: int = 4, height: float = 1.75, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` small axes of one scale, at most ``columns`` a row."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = WIDTH if columns > 2 else WIDTH * 0.6
    figure = Figure(figsize=(width, height * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    every = list(grid.flat)
    for axes in every[count:]:
        axes.set_visible(False)
    for axes in every[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return figure, every[:count]


def label_rows(every: list[Axes], label: str) -> None:
    """Name the vertical axis once a row."""
    for axes in every:
        place = axes.get_subplotspec()
        if place is None or place.is_first_col():
            axes.set_ylabel(label)


def legend_below(figure: Figure, columns: int = 5, place: Any = "outside lower center") -> None:
    """One legend below the panels, from every label drawn in any of them."""
    found: dict[str, Any] = {}
    for each in figure.axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = min(columns, len(found))
        figure.legend(list(found.values()), list(found), loc=place, ncols=columns)


def settle(figure: Figure) -> None:
    """Lay the figure out once for all files that are made of it: the slowest part of drawing."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine  # what is left once it is settled

    if not isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine | None):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def save(figure: Figure, stem: Path, formats: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Write ``stem.png`` (300 dots per inch) and vector files; equal figures give equal bytes.

    Each file is replaced whole: two reports of one experiment may be written at once.
    """
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    paths = []
    with styled():
        settle(figure)
        for kind in formats:
            path = stem.with_name(f"{stem.name}.{kind}")
            beside = path.with_name(f".{stem.name}.{secrets.token_hex(4)}.{kind}")
            try:
                figure.savefig(beside, dpi=300, metadata=undated.get(kind))
                if kind == "png":
                    _to_palette(beside)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
            paths.append(path)
    return paths


def _to_palette(path: Path) -> None:
    """256 colours are all that our figures have to the eye, at a third of the size."""
    from PIL import Image

    with Image.open(path) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True, dpi=(300, 300))
