"""Table model, independent of the output format, and the entries of cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_platform.report.cells import Cell, Setting, by_setting
from fl_platform.report.labels import DEFENSES, order


@dataclass(frozen=True)
class TableEntry:
    """Printed entry of a table; ``style`` names a colour class: agrees, differs, diverged, …"""

    text: str
    bold: bool = False
    style: str = ""
    underlined: bool = False


@dataclass(frozen=True)
class Table:
    """Table with entries to print and ``records`` at full precision for programs.

    ``name`` is the kind and, with the ``setting``, makes the file name; a line is drawn after
    ``rule_after`` rows.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[TableEntry, ...], ...]
    notes: tuple[str, ...] = ()
    records: tuple[Mapping[str, object], ...] = ()
    rule_after: int = 0
    setting: Setting | None = None


SOURCES = ("commit", "code_fingerprint", "config_hash", "data_digest", "device")


def entry(cell: Cell, usual: int) -> TableEntry:
    """Printed cell: ``42.90 ± 1.97 (n=2), div (1 of 3)``; n is shown if it is not ``usual``."""
    s = cell.summary()
    parts = []
    if s.n:
        spread = f" ± {s.sd:.2f}" if s.n > 1 else ""
        parts.append(f"{s.mean:.2f}{spread}" + (f" (n={s.n})" if s.n != usual else ""))
    outcomes = (
        ("div", cell.diverged),
        ("failed", cell.failed),
        ("unfinished", cell.unfinished),
        ("conflict", cell.conflicting),
    )
    parts += [f"{word} ({len(seeds)} of {cell.total})" for word, seeds in outcomes if seeds]
    style = "diverged" if cell.diverged else "incomplete" if s.n < cell.total else ""
    return TableEntry(", ".join(parts) or "–", style=style)


def record(cell: Cell) -> dict[str, object]:
    """Numbers of a cell at full precision, for CSV."""
    s = cell.summary()
    where = cell.setting
    return {
        "task": where.task,
        "preset": where.preset,
        "mixing": where.mixing,
        "beta": where.beta,
        "byzantine_fraction": where.byzantine_fraction,
        "clients": where.clients,
        "rounds": where.rounds,
        "variant": where.variant,
        "attack": cell.attack_label,
        "nu": cell.nu,
        "defense": cell.defense_label,
        "n": s.n,
        "mean": s.mean,
        "sd": s.sd,
        "low95": s.low,
        "high95": s.high,
        "diverged": len(cell.diverged),
        "failed": len(cell.failed),
        "unfinished": len(cell.unfinished),
        "conflicting": len(cell.conflicting),
        "alarms": sum(int(float(run.get("alarms") or 0)) for run in cell.runs),
        "seeds": " ".join(str(seed) for seed in sorted(cell.values)),
        **{key: " ".join(distinct(cell.runs, key)) for key in SOURCES},
    }


def distinct(runs: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Distinct texts under ``key``, in the order of the runs."""
    return list(dict.fromkeys(str(run[key]) for run in runs if isinstance(run.get(key), str)))


def changed(run: Mapping[str, Any]) -> bool:
    """Whether the code of a run had uncommitted changes (MLflow tags hold it as text)."""
    return str(run.get("dirty")).lower() in ("true", "1")


def usual_n(found: Iterable[Cell]) -> int:
    """Most common number of finished seeds per cell; 0 if no run has finished."""
    counts = Counter(len(cell.values) for cell in found if cell.values)
    return counts.most_common(1)[0][0] if counts else 0


def only_setting(found: Sequence[Cell]) -> Setting:
    """Setting that all cells share.

    Raises:
        ValueError: The cells belong to several settings, or there is no cell.
    """
    settings = list(by_setting(found))
    if len(settings) != 1:
        raise ValueError(
            f"Expected the cells of one setting, got {len(settings)}; use by_setting first."
        )
    return settings[0]


def axes(found: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Printed attacks (rows) and defenses (columns) of the cells, each in its order."""
    rows = list(dict.fromkeys(cell.row for cell in found))
    # Cells are sorted by attack; sort again for defenses that only some attacks ran against.
    by_defense = sorted(found, key=lambda cell: (order(cell.defense, DEFENSES)[0], cell.column))
    return rows, list(dict.fromkeys(cell.column for cell in by_defense))


def signed(value: float) -> str:
    """``+1.23`` or ``−1.23``; ``unknown`` for NaN."""
    return "unknown" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")
