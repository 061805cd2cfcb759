"""A frame of runs -> a folder with the page, the tables and the figures."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fl_platform.report import sections
from fl_platform.report.cells import Accuracy, by_setting, cells
from fl_platform.report.figures.style import save
from fl_platform.report.findings import facts, headline
from fl_platform.report.formats import RENDERERS
from fl_platform.report.html import Collapsed, Picture, page
from fl_platform.report.tables import Table, comparison_table

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("html", "markdown", "latex", "csv")


def write_report(
    frame: pd.DataFrame,
    curves: pd.DataFrame | None,
    clouds: Sequence[Mapping[str, Any]],
    out: Path | str,
    formats: Iterable[str] = FORMATS,
    title: str = "Report",
    accuracy: Accuracy = "tail",
    figures: tuple[str, ...] = ("png", "pdf"),
) -> list[Path]:
    """Write ``index.html``, ``tables/``, ``figures/`` and ``runs.csv``; return their paths.

    Args:
        frame: One row a run (``tracking/table.py``).
        curves: Columns run_id, key, step, value; None or empty leaves the curves out.
        clouds: Dicts with gram, labels, step and name; empty leaves the pictures out.
        out: Folder, made where it is missing; files of equal name are replaced.
        formats: Any of html, markdown, latex, csv.
        title: Name of the experiment.
        accuracy: tail, last or best.
        figures: Kinds of figure files: png, pdf, svg; none leaves the files out.

    Raises:
        ValueError: an unknown format, or a frame without runs.
    """
    wanted = list(dict.fromkeys(formats))
    unknown = sorted(set(wanted) - set(FORMATS))
    if unknown:
        raise ValueError(f"Expected formats among {list(FORMATS)}, got {unknown}.")
    if frame.empty:
        raise ValueError("Expected at least one run, got an empty frame; check its experiment.")
    found = cells(frame, accuracy)
    tried = [comparison_table(group) for group in by_setting(found).values()]
    comparisons = [table for table in tried if table is not None]
    parts = [
        sections.accuracies(found, accuracy),
        sections.beside_the_paper(comparisons),
        sections.sweeps(found),
        sections.skewness(found, curves, clouds),
        sections.accounts(found),
    ]
    if curves is not None and not curves.empty:
        parts.insert(2, sections.over_rounds(found, curves))

    out = Path(out)
    paths = []
    if "html" in wanted:
        document = page(title, headline(found, comparisons), facts(found), parts)
        paths.append(_write(out / "index.html", document))
    items = [item for part in parts for item in part.items]
    shown = [item.table if isinstance(item, Collapsed) else item for item in items]
    tables = _unique(item for item in shown if isinstance(item, Table))
    for kind in wanted:
        if kind in RENDERERS:
            ending, render = RENDERERS[kind]
            for name, table in tables.items():
                paths.append(_write(out / "tables" / f"{name}.{ending}", render(table)))
    if "csv" in wanted:
        paths.append(_write(out / "runs.csv", frame.to_csv(index=False, lineterminator="\n")))
    pictures = _unique(item for item in shown if isinstance(item, Picture))
    if figures and pictures:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            paths += save(picture.figure, out / "figures" / name, figures)
    return paths


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def _unique(items: Iterable[_Item]) -> dict[str, _Item]:
    """By name, with a number where two settings shorten to the same one."""
    found: dict[str, _Item] = {}
    for item in items:
        name, count = item.name, 1
        while name in found:
            count += 1
            name = f"{item.name}-{count}"
        found[name] = item
    return found


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
