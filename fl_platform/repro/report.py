"""A comparison as a table, as sentences and as one page; nothing is loaded here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_platform.report.formats import to_csv
from fl_platform.report.html import Picture, Section, page
from fl_platform.report.tables.base import Entry, Table, signed
from fl_platform.repro.compare import Comparison
from fl_platform.repro.reference import Reference
from fl_platform.repro.spec import Suite

TONES = {"drifted": "differs", "agrees": "agrees", "same bits": "agrees"}


@dataclass(frozen=True)
class Judged:
    """A suite's runs beside their reference.

    Attributes:
        exact: whether bits had to be equal.
        changed: conditions that are not the reference's: then and now.
    """

    suite: Suite
    reference: Reference
    comparisons: Sequence[Comparison]
    exact: bool
    changed: Mapping[str, tuple[Any, Any]]

    @property
    def drifted(self) -> list[Comparison]:
        """The cells that have drifted."""
        return [c for c in self.comparisons if c.verdict == "drifted"]


def sentences(judged: Judged) -> list[str]:
    """What came out, the first sentence being the verdict."""
    found, bands = judged.comparisons, judged.suite.bands
    drifted = judged.drifted
    runs = sum(c.n for c in found)
    equal = sum(c.equal for c in found)
    if drifted:
        lead = f"{judged.suite.name} has drifted: {len(drifted)} of {len(found)} cells."
    else:
        lead = f"{judged.suite.name} agrees with its reference: {len(found)} cells, {runs} runs."
    said = [lead, *(drift_line(c) for c in drifted)]
    if judged.exact:
        said.append(
            f"Code, versions, processor, device and data are the reference's, so results must be"
            f" equal to the bit: {equal} of {runs} are."
        )
    else:
        keys = ", ".join(judged.changed)
        said.append(
            f"Not under the reference's conditions ({keys}); {equal} of {runs} runs are equal to"
            f" the bit all the same. The others are judged by same-seed differences: an unchanged"
            f" tree alarms in at most {100 * bands.level:g} of 100 runs of the suite, and mean"
            f" differences up to {bands.margin:g} points never do."
        )
        blind = [c for c in found if c.equal < c.n and c.noticed > 5]
        if blind:
            said.append(
                f"In {len(blind)} cells the seeds scatter so much that a change of 5 points could"
                f" pass unnoticed; the table says what each would show."
            )
    return said


def drift_line(found: Comparison) -> str:
    """A drifted cell with n, difference and interval in one sentence."""
    interval = "" if math.isnan(found.low) else f" [{signed(found.low)}, {signed(found.high)}]"
    bits = f", {found.n - found.equal} not equal to the bit" if found.equal < found.n else ""
    return f"{found.cell}: {signed(found.mean)} points{interval}, n = {found.n}{bits}."


def table(judged: Judged) -> Table:
    """One row a cell, drifted ones first."""
    ordered = sorted(judged.comparisons, key=lambda c: c.verdict != "drifted")
    rows, records = [], []
    for c in ordered:
        interval = "–" if math.isnan(c.low) else f"[{signed(c.low)}, {signed(c.high)}]"
        noticed = "any" if math.isnan(c.noticed) else f"{c.noticed:.2f}"
        line = [c.cell, str(c.n), str(c.equal), signed(c.mean), interval, noticed]
        verdict = Entry(c.verdict, bold=c.verdict == "drifted", tone=TONES[c.verdict])
        rows.append((*(Entry(text) for text in line), verdict))
        records.append(dict(vars(c)))
    level = 100 * (1 - judged.suite.bands.level)
    return Table(
        name="comparison",
        title=f"{judged.suite.title}: now minus reference, in points",
        header=("Cell", "n", "Equal", "Difference", "Interval", "Would show", "Verdict"),
        rows=tuple(rows),
        notes=(
            f"Intervals hold for all cells at once with {level:g} %. Would show: the smallest"
            " change that 99 of 100 repetitions would call drift. A diverged run counts as 0 %.",
        ),
        records=tuple(records),
    )


def write_page(judged: Judged, folder: Path, picture: Picture | None) -> list[Path]:
    """Write ``index.html`` and ``comparison.csv`` into ``folder``; their paths."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    origin = judged.reference.origin
    facts = (
        f"reference of {origin.accepted}, commit {origin.commit[:10]}: {origin.why}"
        f" · experiment {judged.suite.experiment} · {' '.join(judged.suite.overrides)}"
    )
    changes = [f"{key}: {was!r} then, {now!r} now" for key, (was, now) in judged.changed.items()]
    found = table(judged)
    sections = [
        Section("Cells", [found]),
        Section("Runs before this one", [] if picture is None else [picture]),
        Section("Conditions that are not the reference's", changes),
    ]
    html, rows = folder / "index.html", folder / "comparison.csv"
    title = f"Reproduction: {judged.suite.name}"
    html.write_text(page(title, sentences(judged), facts, sections), encoding="utf-8")
    rows.write_text(to_csv(found), encoding="utf-8")
    return [html, rows]
