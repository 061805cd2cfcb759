"""Room for text: what is measured and wrapped so that no label is cut or meets another.

The width of a figure is that of a page's column and cannot grow, so long names are broken into
lines and the height grows instead. Sizes are in inches, type in points.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches, of a conference page
LINE = 1.25  # height of a line over the size of its type
_BREAKS = re.compile(r"[^\s_,+/=(-]*[\s_,+/=-]?\(?")


@dataclass(frozen=True)
class Page:
    """Where a figure is printed: the width of its column and the size of the type.

    >>> Page(font=3)
    Traceback (most recent call last):
    ValueError: Expected a font size from 4 to 24 points, got 3.
    """

    width: float = TWO_COLUMNS
    font: float = 8.0

    def __post_init__(self) -> None:
        if not 2.0 <= self.width <= 40.0:
            raise ValueError(f"Expected a width from 2 to 40 inches, got {self.width:g}.")
        if not 4.0 <= self.font <= 24.0:
            raise ValueError(f"Expected a font size from 4 to 24 points, got {self.font:g}.")

    @property
    def small(self) -> float:
        """Size of tick labels, legends and numbers in cells."""
        return self.font - 1

    @property
    def scale(self) -> float:
        """Size of the type over its usual 8 points: axes grow with it."""
        return self.font / 8

    def columns(self, each: float) -> int:
        """How many panels of ``each`` inches fit beside each other, at 8 points."""
        return max(1, int(self.width / (each * self.scale)))


@functools.lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Width of the longest line of ``text`` in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    lines = text.split("\n")
    return max(text_to_path.get_text_width_height_descent(s, font, False)[0] for s in lines) / 72


def wrapped(text: str, width: float, size: float) -> str:
    """``text`` in lines of at most ``width`` inches.

    Lines end after a space, underscore, comma, hyphen, plus, slash, equals sign or an opening
    bracket, and inside a word only where the word alone is too wide.
    """
    lines, line = [], ""
    for piece in filter(None, _BREAKS.findall(" ".join(text.split()))):
        if not line or text_width((line + piece).rstrip(), size) <= width:
            line += piece
        else:
            lines.append(line)
            line = piece
        while text_width(line.rstrip(), size) > width and len(line) > 1:
            cut = _longest(line, width, size)
            lines.append(line[:cut])
            line = line[cut:]
    return "\n".join(part.strip() for part in [*lines, line] if part.strip())


def _longest(line: str, width: float, size: float) -> int:
    """How many letters of ``line`` fit; at least one."""
    cut = len(line) - 1
    while cut > 1 and text_width(line[:cut], size) > width:
        cut -= 1
    return cut


def lines(text: str) -> int:
    """The number of lines of ``text``."""
    return text.count("\n") + 1


def category_ticks(axes: Axes, names: Sequence[str], room: float, page: Page) -> None:
    """Name the categories below ``axes``, each ``room`` inches wide.

    Names stand upright where they fit in two lines without a break inside a word, else they are
    turned by 90 degrees.
    """
    size = page.small
    flat = [wrapped(name, 0.92 * room, size) for name in names]
    whole = all(text_width(p, size) <= 0.92 * room for n in names for p in _pieces(n))
    ticks: Any = range(len(names))
    if whole and max(map(lines, flat)) <= 2:
        axes.set_xticks(ticks, flat)
        return
    size = min(size, 72 * room / LINE)
    # As many lines as the room has, so that long names make the figure less tall.
    longest = max(text_width(name, size) for name in names)
    fitting = max(1, int(72 * room / (LINE * size)))
    turned = [wrapped(name, max(1.0 * page.scale, 1.2 * longest / fitting), size) for name in names]
    if max(map(lines, turned)) > fitting:
        turned = [" ".join(name.split()) for name in names]
    axes.set_xticks(ticks, turned, rotation=90, fontsize=size)


def _pieces(name: str) -> list[str]:
    return [piece.strip() for piece in _BREAKS.findall(name) if piece.strip()]


def legend_below(
    figure: Figure, page: Page | None = None, place: Any = "outside lower center"
) -> None:
    """One legend below the panels, from every label drawn in any of them, as wide as the page."""
    page = page or Page(figure.get_figwidth())
    found: dict[str, Any] = {}
    for each in figure.axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    em, width = page.small / 72, figure.get_figwidth() - 0.1
    labels = [wrapped(label, width - 3.5 * em, page.small) for label in found]
    columns = next(
        n for n in range(len(labels), 0, -1) if n == 1 or _legend_width(labels, n, page) <= width
    )
    figure.legend(
        list(found.values()),
        labels,
        loc=place,
        ncols=columns,
        handlelength=2.0,
        handletextpad=0.5,
        columnspacing=1.2,
        borderpad=0.2,
    )


def _legend_width(labels: Sequence[str], columns: int, page: Page) -> float:
    import numpy as np

    em = page.small / 72
    widest = [
        max(text_width(labels[i], page.small) for i in part)
        for part in np.array_split(np.arange(len(labels)), columns)
    ]
    return sum(widest) + em * (2.6 * columns + 1.2 * (columns - 1) + 0.6)


def put_title(figure: Figure, title: str, page: Page) -> None:
    """Write ``title`` above all panels, in as many lines as the width asks for."""
    if title:
        figure.suptitle(wrapped(title, figure.get_figwidth() - 0.2, page.font), fontsize=page.font)


def settle(figure: Figure, axes: Axes | None = None, height: float = 0.0, rows: float = 1) -> None:
    """Lay the figure out once for all files that are made of it: the slowest part of drawing.

    Args:
        figure: One whose layout engine is constrained; a settled one stays as it is.
        axes: Those that are to be ``height`` inches tall; the figure grows or shrinks by
            ``rows`` times what they lack.
    """
    from matplotlib.layout_engine import PlaceHolderLayoutEngine  # what is left once it is settled

    if isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine | None):
        return
    if axes is not None:  # too tall at first, since in a figure too small nothing is laid out
        legends = sum(each.get_window_extent().height for each in figure.legends) / figure.dpi
        figure.set_figheight(figure.get_figheight() + rows * (height + 1.5) + legends + 3)
    for _ in range(5):
        figure.draw_without_rendering()
        if axes is None:
            break
        missing = height - axes.get_position().height * figure.get_figheight()
        if abs(missing) < 0.02:
            figure.draw_without_rendering()  # once more: in new axes other numbers are ticked
            break
        figure.set_figheight(max(0.5, figure.get_figheight() + rows * missing))
    figure.set_layout_engine("none")
