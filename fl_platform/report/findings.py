"""Sentences at the top of a report, computed from its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fl_platform.report.cells import Cell, by_setting
from fl_platform.report.tables import Table, column_claims
from fl_platform.report.tables.table import changed, distinct


def headline(found: Sequence[Cell], comparisons: Sequence[Table]) -> list[str]:
    """Findings in sentences: strongest attack with significance, the paper's numbers, warnings."""
    groups = by_setting(found).values()
    made = [claim for group in groups for claim in column_claims(group).values()]
    sentences = []
    contested = [claim for claim in made if claim.rival or claim.unranked]
    if any(not claim.unranked for claim in contested):
        # A column with diverged runs of another attack has no strongest attack.
        counts = Counter(claim.best for claim in contested if not claim.unranked)
        most = max(counts.values())
        names = sorted(name for name, count in counts.items() if count == most)
        verb = "gives" if len(names) == 1 else "each give"
        supported = sum(claim.supported for claim in contested if claim.best in names)
        columns = "defense" if len(contested) == 1 else "defenses"
        if len(by_setting(found)) > 1:
            columns = "pairs of defense and setting"
        significant = f"significant for {supported}" if supported else "not significant for any"
        sentences.append(
            f"{_joined(names)} {verb} the lowest accuracy against {most} of {len(contested)}"
            f" {columns}; the difference is {significant} of these."
        )
    else:
        sentences.append(f"{len(found)} cells; no two attacks can be ranked.")
    verdicts = Counter(str(row["verdict"]) for table in comparisons for row in table.records)
    if verdicts:
        sentences.append(
            f"Comparison with {verdicts.total()} published values: {verdicts['agrees']} agree,"
            f" {verdicts['differs']} differ, {verdicts['cannot tell']} cannot be decided."
        )
    sentences += warnings(found)
    return sentences


def warnings(found: Sequence[Cell]) -> list[str]:
    """Warnings about failed runs, mixed configurations and code; empty if there are none."""
    lines = []
    outcomes = {
        "diverged": sum(len(cell.diverged) for cell in found),
        "failed": sum(len(cell.failed) for cell in found),
        "unfinished": sum(len(cell.unfinished) for cell in found),
    }
    if any(outcomes.values()):
        counts = ", ".join(f"{count} {name}" for name, count in outcomes.items() if count)
        total = sum(cell.total for cell in found)
        lines.append(f"Of {total} runs: {counts}; means leave these out.")
    conflicts = sum(len(cell.conflicting) for cell in found)
    if conflicts:
        lines.append(
            f"{conflicts} seeds are left out: their cell holds runs of different configurations."
            " Report one experiment at a time."
        )
    runs = [run for cell in found for run in cell.runs]
    prints = distinct(runs, "code_fingerprint")
    if len(prints) > 1:
        lines.append(f"The runs come from {len(prints)} different versions of the code.")
    dirty = sum(changed(run) for run in runs)
    if dirty:
        lines.append(f"{dirty} of {len(runs)} runs come from code with uncommitted changes.")
    return lines


def facts(found: Sequence[Cell]) -> str:
    """One line with the numbers of runs and cells, the seeds, code, data and device."""
    runs = [run for cell in found for run in cell.runs]
    seeds = sorted({seed for cell in found for seed in cell.values})
    parts = [
        f"{len(runs)} runs in {len(found)} cells",
        f"seeds {', '.join(map(str, seeds))}" if seeds else "no finished seed",
        f"commit {_cut(distinct(runs, 'commit'), 10)}",
        f"data {_cut(distinct(runs, 'data_digest'), 12)}",
        f"device {_cut(distinct(runs, 'device'), 40)}",
    ]
    return " · ".join(parts)


def _cut(values: list[str], length: int) -> str:
    return ", ".join(value[:length] for value in values[:4]) or "unknown"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
