"""Writes a report folder (page, tables, figures) from a frame of runs."""

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
from fl_platform.report.html import Collapsible, Picture, page
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
        frame: One row per run (``tracking/frames.py``).
        curves: Columns run_id, key, step, value. None or empty: no curves.
        clouds: Dicts with gram, labels, step and name. Empty: no embeddings.
        out: Folder, created if missing; files of equal name are replaced.
        formats: Any of html, markdown, latex, csv.
        title: Name of the experiment.
        accuracy: tail, last or best.
        figures: Formats of figure files: png, pdf, svg. Empty: no files.

    Raises:
        ValueError: A format is unknown, or the frame has no run.
    """
    wanted = list(dict.fromkeys(formats))
    unknown = sorted(set(wanted) - set(FORMATS))
    if unknown:
        raise ValueError(f"Expected formats among {list(FORMATS)}, got {unknown}.")
    if frame.empty:
        raise ValueError(
            "Expected at least one run, got an empty frame. Check the name of the experiment."
        )
    found = cells(frame, accuracy)
    tried = [comparison_table(group) for group in by_setting(found).values()]
    comparisons = [table for table in tried if table is not None]
    parts = [
        sections.accuracies(found, accuracy),
        sections.beside_the_paper(comparisons),
        sections.sweeps(found),
        sections.skewness(found, curves, clouds),
        sections.cost_and_provenance(found),
    ]
    if curves is not None and not curves.empty:
        parts.insert(2, sections.over_rounds(found, curves))

    out = Path(out)
    paths = []
    if "html" in wanted:
        document = page(title, headline(found, comparisons), facts(found), parts)
        paths.append(_write(out / "index.html", document))
    if "csv" in wanted:
        paths.append(_write(out / "runs.csv", frame.to_csv(index=False, lineterminator="\n")))
    items = [item for part in parts for item in part.items]
    shown = [item.table if isinstance(item, Collapsible) else item for item in items]
    paths += _write_tables([item for item in shown if isinstance(item, Table)], out, wanted)
    return paths + _save_figures(
        [item for item in shown if isinstance(item, Picture)], out, figures
    )


def _write_tables(tables: Iterable[Table], out: Path, formats: Iterable[str]) -> list[Path]:
    named = _unique(tables)
    return [
        _write(out / "tables" / f"{name}.{ending}", render(table))
        for ending, render in (RENDERERS[kind] for kind in formats if kind in RENDERERS)
        for name, table in named.items()
    ]


def _save_figures(pictures: Sequence[Picture], out: Path, kinds: tuple[str, ...]) -> list[Path]:
    paths: list[Path] = []
    if kinds and pictures:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, picture in _unique(pictures).items():
            paths += save(picture.figure, out / "figures" / name, kinds)
    return paths


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


def _unique(items: Iterable[_Item]) -> dict[str, _Item]:
    """Items by name; a number is appended if two settings have the same short name."""
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
