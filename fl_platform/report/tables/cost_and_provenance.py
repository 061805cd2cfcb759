"""Seconds per run, and the provenance of every number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fl_platform.report.cells import Cell
from fl_platform.report.labels import ATTACKS, DEFENSES, printed
from fl_platform.report.tables.table import (
    Table,
    TableEntry,
    axes,
    changed,
    distinct,
    only_setting,
    record,
)


def cost_table(found: Sequence[Cell]) -> Table:
    """Mean seconds per run, attacks × defenses of one setting."""
    setting = only_setting(found)
    rows, columns = axes(found)
    at = {(cell.row, cell.column): cell for cell in found}
    body, records = [], []
    for row in rows:
        line = [TableEntry(row)]
        for column in columns:
            cell = at.get((row, column))
            times = [] if cell is None else seconds(cell)
            line.append(TableEntry(f"{sum(times) / len(times):.1f}" if times else "–"))
            if times:
                total = sum(times)
                records.append(
                    {
                        "attack": row,
                        "defense": column,
                        "runs": len(times),
                        "mean_seconds": total / len(times),
                        "total_seconds": total,
                    }
                )
        body.append(tuple(line))
    runs = [time for cell in found for time in seconds(cell)]
    devices = sorted({str(run.get("device")) for cell in found for run in cell.runs})
    return Table(
        name="cost",
        setting=setting,
        title=f"Seconds per run: {setting.title()}",
        header=("Attack", *columns),
        rows=tuple(body),
        notes=(
            f"{len(runs)} runs, {sum(runs):.0f} s in total, on {', '.join(devices)}; parallel runs"
            " on one machine slow each other.",
        ),
        records=tuple(records),
    )


def provenance_table(found: Sequence[Cell]) -> Table:
    """Provenance of every number: n, interval, commit, configurations, data, device."""
    body, records = [], []
    for cell in found:
        s = cell.summary()
        interval = f"[{s.low:.2f}, {s.high:.2f}]" if s.n > 1 else "none"
        sources = [
            _shortened(cell.runs, "commit", 10),
            _shortened(cell.runs, "code_fingerprint", 8),
            _shortened(cell.runs, "config_hash", 8),
            _shortened(cell.runs, "data_digest", 8),
            _shortened(cell.runs, "device", 24),
        ]
        alarms = sum(int(float(run.get("alarms") or 0)) for run in cell.runs)
        if alarms:
            sources[2] += f" ({alarms} alarms)"
        if any(changed(run) for run in cell.runs):
            sources[0] += " + uncommitted changes"
        where = cell.setting.title()
        attack = printed(cell.attack_label, ATTACKS)  # with all parameters
        defense = printed(cell.defense_label, DEFENSES)
        line = [where, attack, defense, str(s.n), interval, _seeds(cell), *sources]
        body.append(tuple(TableEntry(text) for text in line))
        records.append(record(cell))
    header = ("Setting", "Attack", "Defense", "n", "95 % interval", "Seeds", "Commit", "Code")
    return Table(
        name="provenance",
        title="Provenance of every number",
        header=(*header, "Configuration", "Data", "Device"),
        rows=tuple(body),
        notes=("Digests are shortened; runs.csv has them in full, one row per run.",),
        records=tuple(records),
    )


def seconds(cell: Cell) -> list[float]:
    """Seconds of the finished runs of a cell."""
    times = []
    for run in cell.runs:
        time: Any = run.get("seconds")
        if run.get("status") == "FINISHED" and isinstance(time, int | float) and time >= 0:
            times.append(float(time))
    return times


def _seeds(cell: Cell) -> str:
    return " ".join(str(seed) for seed in sorted(cell.values)) or "none finished"


def _shortened(runs: Iterable[Mapping[str, Any]], key: str, length: int) -> str:
    return ", ".join(value[:length] for value in distinct(runs, key)) or "unknown"
