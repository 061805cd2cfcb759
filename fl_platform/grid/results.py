"""Results of an experiment: data frames, tables on the terminal, the report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.table import Table as RichTable
from rich.text import Text

from fl_platform.config import ConfigError
from fl_platform.core.outside import OutsideError, read_file
from fl_platform.core.terminal import Terminal
from fl_platform.grid.filed import runs_of
from fl_platform.grid.papers import restated
from fl_platform.report.cells import by_setting, cells, usual_strength
from fl_platform.report.figures.embedding import labels_of
from fl_platform.report.figures.layout import ONE_COLUMN, TWO_COLUMNS, Page
from fl_platform.report.round_metrics import SKEW
from fl_platform.report.tables import Table, TableEntry, accuracy_table
from fl_platform.report.write import FORMATS, write_report
from fl_platform.tracking import frames as table
from fl_platform.tracking.clouds import StoredCloud, cloud_files, read_cloud
from fl_platform.tracking.records import RecordError, skip
from fl_platform.tracking.run_folder import RunFolder, run_folder

if TYPE_CHECKING:
    import pandas as pd

KEYS = (
    "test/accuracy",
    *(f"skew/{name}{end}" for name in SKEW for end in ("", "_null", "_z")),
    *("round/kappa", "round/kappa_bound"),
)
MAX_CLOUDS = 6  # runs whose clouds are drawn


def frame_of(home: Path, experiment: str, source: table.Source = "auto") -> pd.DataFrame:
    """Runs of ``experiment``, including those that its grids share with other experiments.

    Raises:
        ConfigError: the experiment has no runs.
    """
    runs = table.runs(home, source)
    runs = runs[runs["attack"] != ""]  # without the parent runs of grids and studies
    frame = runs_of(home, runs, experiment)
    return (
        frame.assign(variant=table.variants(frame))
        .drop(columns="parameters")
        .reset_index(drop=True)
    )


def tables_of(frame: pd.DataFrame, hashes: Collection[str] | None = None) -> list[Table]:
    """One accuracy table per setting; ``hashes`` restricts it to these runs."""
    if hashes is not None:
        frame = frame[frame["config_hash"].isin(list(hashes))]
    found = usual_strength(cells(frame))
    return [accuracy_table(group) for group in by_setting(found).values()]


def show(tables: Iterable[Table], console: Terminal | None = None) -> None:
    """Print tables and their notes; bold marks significant entries."""
    console = console or Terminal()
    for found in tables:
        console.print(Text(f"\n{found.title}", style="italic"), soft_wrap=True)
        grid = RichTable(box=None, pad_edge=False)
        for index, name in enumerate(found.header):
            grid.add_column(name, justify="right" if index else "left", no_wrap=not index)
        for index, row in enumerate(found.rows, start=1):
            texts = [Text(entry.text, style=_style(entry)) for entry in row]
            grid.add_row(*texts, end_section=index == found.rule_after)
        console.print(grid)
        for note in found.notes:
            console.print(Text(note, style="dim"))


def _style(entry: TableEntry) -> str:
    return " ".join(["bold"] * entry.bold + ["underline"] * entry.underlined)


def write(
    home: Path,
    experiment: str,
    frame: pd.DataFrame,
    out: Path | None = None,
    formats: Sequence[str] = FORMATS,
    title: str = "",
    source: table.Source = "auto",
    page: Page | None = None,
) -> tuple[Path, list[Path]]:
    """Write the report of ``frame``; returns its folder and files.

    ``out``: the folder. Default: ``mlruns/reports/NAME``.
    """
    out = out or report_folder(home, experiment)
    curves = table.curves(home, KEYS, source)
    curves = curves[curves["run_id"].isin(set(frame["run_id"]))]
    kept = clouds(home, frame)
    seeds = {int(seed) for seed in frame["seed"].dropna()}
    beside = restated(home, experiment, sorted(seeds))
    paths = write_report(
        frame, curves, kept, out, formats, title or experiment, page=page, restated=beside
    )
    return out, paths


def report_folder(home: Path, experiment: str) -> Path:
    """``mlruns/reports/NAME``; a name that is no plain path is replaced by its hash."""
    part = r"[A-Za-z0-9][\w.-]{0,99}"
    plain = re.fullmatch(rf"{part}(/{part})?", experiment, re.ASCII)
    name = experiment if plain else hashlib.sha256(experiment.encode()).hexdigest()[:16]
    return home / "mlruns" / "reports" / name


def source(text: str) -> table.Source:
    """Parse ``--source``.

    Raises:
        ConfigError: the source is unknown.
    """
    for known in get_args(table.Source):
        if text == known:
            return known
    raise ConfigError(f"--source: expected auto, folders or mlflow, got {text!r}.")


def page(width: str, font_size: float) -> Page:
    """``--width`` and ``--font-size`` as typed: ``one``, ``two`` or inches, and points.

    Raises:
        ConfigError: neither a column nor a number, or one out of range.
    """
    known = {"one": ONE_COLUMN, "two": TWO_COLUMNS}
    try:
        inches = known[width] if width in known else float(width)
    except ValueError:
        raise ConfigError(f"--width: expected one, two or inches, got {width!r}.") from None
    try:
        return Page(inches, font_size)
    except ValueError as error:
        raise ConfigError(f"--width, --font-size: {error}") from None


def kinds(text: str) -> list[str]:
    """Parse ``--format``, such as ``html,csv``.

    Raises:
        ConfigError: a format is unknown.
    """
    asked = [kind.strip() for kind in text.split(",")]
    for kind in asked:
        if kind not in FORMATS:
            raise ConfigError(f"--format: expected any of {', '.join(FORMATS)}, got {kind!r}.")
    return asked


def clouds(home: Path, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Gram matrices that the runs of ``frame`` stored (``observers.cloud``), with labels."""
    found: list[dict[str, Any]] = []
    kept = 0
    for _, run in frame.iterrows():
        folder = run_folder(home, run["config_hash"])
        files = cloud_files(folder.artifacts)
        kept += bool(files)
        if kept > MAX_CLOUDS:
            break
        for file in files:
            try:
                cloud = _own_cloud(file, folder)
            except (OutsideError, RecordError) as error:
                skip(error)
                continue
            labels = labels_of(len(cloud.gram), cloud.num_honest, cloud.skewed)
            about = {"gram": cloud.gram, "labels": labels, "step": cloud.step}
            found.append({**about, "name": run["name"]})
    return found


def _own_cloud(file: Path, folder: RunFolder) -> StoredCloud:
    """Read the cloud in ``file`` after a check of its digest against the run's journal."""
    written = folder.history().digests.get(f"{folder.artifacts.name}/{file.name}")
    if written not in (None, hashlib.sha256(read_file(file, "cloud")).hexdigest()):
        raise OutsideError(f"{file}: expected the digest in the run's journal, got another file.")
    return read_cloud(file)
