"""One look for every figure: print sizes, and marks that survive grey and colour blindness.

Colours are those of Masataka Okabe and Kei Ito, "Color Universal Design" (2008). A name keeps its
colour, marker and line in every figure, so that colour alone never tells two apart.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fl_platform.report.figures.layout import (
    TWO_COLUMNS,
    Page,
    legend_below,
    put_title,
    settle,
    wrapped,
)
from fl_platform.tracking.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = TWO_COLUMNS
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "figure.dpi": 300,  # that of the files: the size of type depends on it a little
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
    for color in (BLUE, GREEN, PURPLE, ORANGE, BLACK, SKY)  # a free vermilion looks like STRIKE
]


def marks(names: list[str]) -> dict[str, Mark]:
    """A mark for each name: the usual one of a known rule, a free one for the others, in order."""
    unknown = [name for name in dict.fromkeys(names) if name not in _KNOWN]
    spare = {name: _FREE[index % len(_FREE)] for index, name in enumerate(unknown)}
    return {name: _KNOWN.get(name) or spare[name] for name in names}


def row_marks(bases: Mapping[str, str]) -> dict[str, Mark]:
    """A mark for each printed name: of several variants of one rule the first has the usual one.

    Args:
        bases: Printed name -> name of the rule.
    """
    first: dict[str, str] = {}
    for name, base in bases.items():
        first.setdefault(base, name)
    asked = {name: base if first[base] == name else f" {name}" for name, base in bases.items()}
    made = marks(list(asked.values()))
    return {name: made[base] for name, base in asked.items()}


@contextmanager
def styled(page: Page | None = None) -> Iterator[None]:
    """Draws and saves inside it have the look of this file, in the type of ``page``."""
    import matplotlib

    page = page or Page()
    sizes = dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), page.font)
    sizes |= dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), page.small)
    with matplotlib.rc_context(STYLE | sizes):  # type: ignore[arg-type]
        yield


def panels(
    count: int, page: Page, each: float = 1.6, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` axes of one scale, beside each other where ``each`` inches fit.

    Every row has tick labels; the horizontal axis is named once a column.
    """
    from matplotlib.figure import Figure

    columns = min(page.columns(each), count)
    rows = math.ceil(count / columns)
    width = page.width if columns > 2 else min(page.width, 0.7 + 2.0 * page.scale * columns)
    figure = Figure(figsize=(width, 1.9 * page.scale * rows + 1.0), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    every = list(grid.flat)
    for axes in every[count:]:
        axes.set_visible(False)
    for axes in every[:count]:
        axes.tick_params(labelbottom=True)
    return figure, every[:count]


def name_panels(figure: Figure, every: Sequence[Axes], names: Sequence[str], page: Page) -> None:
    """Write a title of as many lines as it takes above each panel."""
    columns = every[0].get_gridspec().ncols  # type: ignore[union-attr]
    room = (figure.get_figwidth() - 0.55 * page.scale) / columns - 0.15
    for axes, name in zip(every, names, strict=True):
        axes.set_title(wrapped(name, room, page.font))


def label_outside(every: Sequence[Axes], across: str, upward: str = "") -> None:
    """Name the vertical axis once a row and the horizontal one below the lowest of a column."""
    columns = every[0].get_gridspec().ncols  # type: ignore[union-attr]
    for index, axes in enumerate(every):
        if upward and index % columns == 0:
            axes.set_ylabel(upward)
        if index + columns >= len(every):
            axes.set_xlabel(across)


def finish(figure: Figure, every: Sequence[Axes], page: Page, title: str, height: float) -> None:
    """Legend, title and a height that leaves each panel ``height`` inches at 8 points."""
    legend_below(figure, page)
    put_title(figure, title, page)
    spec = every[0].get_gridspec()
    settle(figure, every[0], height * page.scale, spec.nrows if spec else 1)


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
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=300, metadata=undated.get(kind))
            data = _to_palette(drawn) if kind == "png" else drawn.getvalue()
            write_atomic(path, data, mode=0o666)
            paths.append(path)
    return paths


def _to_palette(drawn: io.BytesIO) -> bytes:
    """256 colours are all that our figures have to the eye, at a third of the size."""
    from PIL import Image

    few = io.BytesIO()
    with Image.open(drawn) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(few, "png", optimize=True, dpi=(300, 300))
    return few.getvalue()
