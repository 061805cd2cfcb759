"""The sentences at the top of a report, made from what the tables hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fl_platform.report.cells import Cell, by_setting
from fl_platform.report.tables import Table, column_claims
from fl_platform.report.tables.base import changed, distinct


def headline(found: Sequence[Cell], comparisons: Sequence[Table]) -> list[str]:
    """The findings in sentences: who is lowest and how sure, the paper, and what went wrong."""
    groups = by_setting(found).values()
    made = [claim for group in groups for claim in column_claims(group).values()]
    sentences = []
    contested = [claim for claim in made if claim.rival or claim.unranked]
    if any(not claim.unranked for claim in contested):
        # Where another attack made runs diverge, the lowest mean is not the lowest attack.
        counts = Counter(claim.best for claim in contested if not claim.unranked)
        most = max(counts.values())
        names = sorted(name for name, count in counts.items() if count == most)
        verb = "gives" if len(names) == 1 else "each give"
        supported = sum(claim.supported for claim in contested if claim.best in names)
        columns = "defense" if len(contested) == 1 else "defenses"
        if len(by_setting(found)) > 1:
            columns = "pairs of defense and setting"
        sure = f"support it in {supported}" if supported else "support none of these"
        sentences.append(
            f"{_joined(names)} {verb} the lowest accuracy against {most} of {len(contested)}"
            f" {columns}; the seeds {sure}."
        )
    else:
        sentences.append(f"{len(found)} cells, no two attacks that could be ranked.")
    verdicts = Counter(str(row["verdict"]) for table in comparisons for row in table.records)
    if verdicts:
        sentences.append(
            f"Beside the paper's {verdicts.total()} printed values: {verdicts['agrees']} agree,"
            f" {verdicts['differs']} differ, {verdicts['cannot tell']} cannot be told."
        )
    sentences += warnings(found)
    return sentences


def warnings(found: Sequence[Cell]) -> list[str]:
    """What a reader must know before trusting the numbers; empty where nothing is amiss."""
    said = []
    fates = {
        "diverged": sum(len(cell.diverged) for cell in found),
        "failed": sum(len(cell.failed) for cell in found),
        "unfinished": sum(len(cell.unfinished) for cell in found),
    }
    if any(fates.values()):
        counts = ", ".join(f"{count} {name}" for name, count in fates.items() if count)
        total = sum(cell.total for cell in found)
        said.append(f"Of {total} runs: {counts}; none of these is part of a mean.")
    conflicts = sum(len(cell.conflicting) for cell in found)
    if conflicts:
        said.append(
            f"{conflicts} seeds have runs of different configuration in one cell and are left out:"
            " report one experiment at a time."
        )
    runs = [run for cell in found for run in cell.runs]
    prints = distinct(runs, "code_fingerprint")
    if len(prints) > 1:
        said.append(f"The runs come from {len(prints)} different states of the code.")
    dirty = sum(changed(run) for run in runs)
    if dirty:
        said.append(f"{dirty} of {len(runs)} runs had changes that no commit holds.")
    return said


def facts(found: Sequence[Cell]) -> str:
    """One line: how many runs of how many cells, which seeds, which code, data and device."""
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
