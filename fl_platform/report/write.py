"""Writes a report folder (page, tables, figures) from a frame of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_platform.report import sections
from fl_platform.report.cells import Accuracy, by_setting, cells
from fl_platform.report.figures.layout import Page
from fl_platform.report.figures.style import save
from fl_platform.report.file_names import by_file_name
from fl_platform.report.findings import facts, headline
from fl_platform.report.formats import csv_text, markdown, to_csv
from fl_platform.report.html import Collapsible, Picture
from fl_platform.report.html import page as whole_page
from fl_platform.report.latex import latex
from fl_platform.report.published import Restated
from fl_platform.report.tables import Table, comparison_table, restated_table
from fl_platform.tracking.atomic import write_atomic

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
    page: Page | None = None,
    restated: Restated | None = None,
) -> list[Path]:
    """Write ``index.html``, ``tables/``, ``figures/`` and ``runs.csv``; return their paths.

    A figure that cannot be drawn is left out, with the reason on the page. Files are replaced as
    wholes, so that two reports of one folder at once both succeed.

    Args:
        frame: One row per run (``tracking/frames.py``).
        curves: Columns run_id, key, step, value. None or empty: no curves.
        clouds: Dicts with gram, labels, step and name. Empty: no embeddings.
        out: Folder, created if missing; files of equal name are replaced.
        formats: Any of html, markdown, latex, csv.
        title: Name of the experiment.
        accuracy: tail, last or best.
        figures: Formats of figure files: png, pdf, svg. Empty: no files.
        page: Width and type size of figures, and width of LaTeX tables.
        restated: Published values beside which the runs are set.

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
    found, page = cells(frame, accuracy), page or Page()
    beside = restated or Restated("")
    groups = by_setting(found).values()
    tried = [comparison_table(group) for group in groups]
    tried += [restated_table(group, beside, accuracy) for group in groups]
    comparisons = [table for table in tried if table is not None]
    parts = [
        sections.accuracies(found, accuracy, page),
        sections.beside_the_paper(comparisons, found, curves, beside, page),
        sections.sweeps(found, page),
        sections.skewness(found, curves, clouds, page),
        sections.cost_and_provenance(found),
    ]
    if curves is not None and not curves.empty:
        parts.insert(2, sections.over_rounds(found, curves, page))

    out = Path(out)
    paths = []
    if "html" in wanted:
        document = whole_page(title, headline(found, comparisons), facts(found), parts)
        paths.append(_write(out / "index.html", document))
    items = [item for part in parts for item in part.items]
    shown = [item.table if isinstance(item, Collapsible) else item for item in items]
    paths += _write_tables([t for t in shown if isinstance(t, Table)], wanted, out, page)
    if "csv" in wanted:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        paths.append(_write(out / "runs.csv", csv_text(records)))
    pictures = by_file_name([item for item in shown if isinstance(item, Picture)])
    if figures and pictures:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            paths += save(picture.figure, out / "figures" / name, figures)
        captions = [f"{name}: {picture.caption}\n" for name, picture in pictures.items()]
        paths.append(_write(out / "figures" / "captions.txt", "\n".join(captions)))
    return paths


def _write_tables(
    tables: Sequence[Table], formats: Sequence[str], out: Path, page: Page
) -> list[Path]:
    renderers: dict[str, tuple[str, Callable[[Table], str]]] = {
        "markdown": ("md", markdown),
        "latex": ("tex", lambda table: latex(table, page.width)),
        "csv": ("csv", to_csv),
    }
    return [
        _write(out / "tables" / f"{name}.{ending}", render(replace(table, name=name)))
        for kind, (ending, render) in renderers.items()
        if kind in formats
        for name, table in by_file_name(tables).items()
    ]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode(), mode=0o666)
    return path
