"""Comparison with the reference as a table, as sentences and as one page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_platform.report.formats import to_csv
from fl_platform.report.html import Picture, Section, page
from fl_platform.report.tables.table import Table, TableEntry, signed
from fl_platform.repro.compare import Comparison
from fl_platform.repro.reference import Reference
from fl_platform.repro.spec import Suite
from fl_platform.tracking.atomic import write_atomic

_COLUMNS = {"detectable": "noticed"}  # names in comparison.csv that differ from the fields
STYLES = {"drifted": "differs", "agrees": "agrees", "same bits": "agrees"}


@dataclass(frozen=True)
class ComparisonResult:
    """Runs of a suite compared with their reference.

    Attributes:
        exact: Whether results must be equal to the bit.
        changed: Conditions that differ from the reference: (reference, now).
    """

    suite: Suite
    reference: Reference
    comparisons: Sequence[Comparison]
    exact: bool
    changed: Mapping[str, tuple[Any, Any]]

    @property
    def drifted(self) -> list[Comparison]:
        """Cells with the verdict *drifted*."""
        return [c for c in self.comparisons if c.verdict == "drifted"]


def sentences(result: ComparisonResult) -> list[str]:
    """Result in sentences; the first is the verdict."""
    found, bands = result.comparisons, result.suite.bands
    drifted = result.drifted
    runs = sum(c.n for c in found)
    equal = sum(c.equal for c in found)
    if drifted:
        lead = f"{result.suite.name} has drifted: {len(drifted)} of {len(found)} cells."
    else:
        lead = f"{result.suite.name} agrees with its reference: {len(found)} cells, {runs} runs."
    lines = [lead, *(drift_line(c) for c in drifted)]
    if result.exact:
        lines.append(
            f"Code, versions, processor, device and data equal those of the reference, so results"
            f" must be equal to the bit: {equal} of {runs} runs are."
        )
    else:
        keys = ", ".join(result.changed)
        lines.append(
            f"Conditions differ from the reference ({keys}); {equal} of {runs} runs are equal to"
            f" the bit. The others are tested by differences of equal seeds. False alarms: at most"
            f" {100 * bands.level:g} per 100 runs of the suite; mean differences of at most"
            f" {bands.margin:g} points are never drift."
        )
        noisy = [c for c in found if c.equal < c.n and c.detectable > 5]
        if noisy:
            lines.append(
                f"In {len(noisy)} cells the seeds vary so much that a change of 5 points can remain"
                f" undetected; the table has the minimal detectable change per cell."
            )
    return lines


def drift_line(found: Comparison) -> str:
    """One sentence about a drifted cell: difference, interval and n."""
    interval = "" if math.isnan(found.low) else f" [{signed(found.low)}, {signed(found.high)}]"
    bits = f", {found.n - found.equal} not equal to the bit" if found.equal < found.n else ""
    return f"{found.cell}: {signed(found.mean)} points{interval}, n = {found.n}{bits}."


def table(result: ComparisonResult) -> Table:
    """Table with one row per cell, drifted cells first."""
    ordered = sorted(result.comparisons, key=lambda c: c.verdict != "drifted")
    rows, records = [], []
    for c in ordered:
        interval = "–" if math.isnan(c.low) else f"[{signed(c.low)}, {signed(c.high)}]"
        detectable = "any" if math.isnan(c.detectable) else f"{c.detectable:.2f}"
        line = [c.cell, str(c.n), str(c.equal), signed(c.mean), interval, detectable]
        verdict = TableEntry(c.verdict, bold=c.verdict == "drifted", style=STYLES[c.verdict])
        rows.append((*(TableEntry(text) for text in line), verdict))
        records.append({_COLUMNS.get(key, key): value for key, value in vars(c).items()})
    level = 100 * (1 - result.suite.bands.level)
    return Table(
        name="comparison",
        title=f"{result.suite.title}: now minus reference, in points",
        header=("Cell", "n", "Equal", "Difference", "Interval", "Detectable", "Verdict"),
        rows=tuple(rows),
        notes=(
            f"Interval: simultaneous over all cells, {level:g} %. Detectable: minimal detectable"
            " change in points (power 0.99). A diverged run counts as 0 %.",
        ),
        records=tuple(records),
    )


def write_page(result: ComparisonResult, folder: Path, picture: Picture | None) -> list[Path]:
    """Write ``index.html`` and ``comparison.csv`` into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    origin = result.reference.origin
    facts = (
        f"reference of {origin.accepted}, commit {origin.commit[:10]}: {origin.why}"
        f" · experiment {result.suite.experiment} · {' '.join(result.suite.overrides)}"
    )
    changes = [
        f"{key}: reference {was!r}, now {now!r}" for key, (was, now) in result.changed.items()
    ]
    found = table(result)
    sections = [
        Section("Cells", [found]),
        Section("Previous runs", [] if picture is None else [picture]),
        Section("Conditions that differ from the reference", changes),
    ]
    html, rows = folder / "index.html", folder / "comparison.csv"
    title = f"Reproduction: {result.suite.name}"
    write_atomic(html, page(title, sentences(result), facts, sections).encode())
    write_atomic(rows, to_csv(found).encode())
    return [html, rows]
