"""Keep accuracy at an early round, at the end, and the speed of its rise, for each run of grids.

python docs/results/data/delay.py delay-digits HOME delay
python docs/results/data/delay.py delay-tables HOME fig7   # needs delay-digits.csv

``NAME.csv`` has the columns of `collect` and: the server's ``momentum``, ``accuracy_60`` (the mean
of the last evaluations up to round 60, where earlier tables stop) and ``reached``: the first round
from which the mean of five evaluations is at least 80 % of the accuracy that the plain mean without
attack and without mixing has at the end, for the same data, seed and server; empty if there is
none. ``NAME-curves.npz`` has the accuracy of every evaluation, in the order of the rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from collect import HERE, collect

from fl_platform.tracking import frames
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

EARLY = 60  # round at which earlier tables of digits stop
TAIL = 10  # evaluations of a mean, as in `evaluation.tail`
WINDOW = 5  # evaluations of the mean that must reach the share
SHARE = 0.8


def first_reached(curve: np.ndarray, goal: float) -> float:
    """The last round of the first window whose mean is at least ``goal``; NaN where none is."""
    if len(curve) < WINDOW:
        return float("nan")
    means = np.convolve(curve, np.ones(WINDOW) / WINDOW, "valid")
    found = np.flatnonzero(means >= goal)
    return float(found[0] + WINDOW) if len(found) else float("nan")


def _keys(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    """Data, seed and server of each run: what it shares with the run of its goal."""
    beta = pd.to_numeric(rows["beta"], errors="coerce").fillna(np.inf)
    columns = (rows[name].astype(float) for name in ("seed", "momentum", "rounds"))
    return list(zip(beta, *columns, strict=True))


def _collected(root: Path, experiments: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and circumstances of several experiments of one workspace."""
    parts = [collect(experiment, root) for experiment in experiments]
    told: dict[str, Any] = {"seconds": sum(part["seconds"] for _, part, _ in parts)}
    for key, value in parts[0][1].items():
        if isinstance(value, list):
            told[key] = sorted({item for _, part, _ in parts for item in part[key]})
    rows = pd.concat([part for part, _, _ in parts])
    return rows[rows["status"] != "KILLED"].reset_index(drop=True), told


def main(name: str, home: str, experiments: Sequence[str]) -> None:
    """Write the files of grids that were evaluated in every round."""
    root = Path(home).resolve()
    rows, told = _collected(root, experiments)
    told |= {"runs": len(rows), "not_finished": int((rows["status"] != "FINISHED").sum())}
    runs = frames.runs(root, "folders")
    parameters = {
        str(identity)[:16]: (dict(kept), str(identity))
        for identity, kept in zip(runs["config_hash"], runs["parameters"], strict=True)
    }
    curves, momentum = [], []
    for identity in rows["config_hash"]:
        kept, whole = parameters[identity]
        points = read(run_folder(root, whole).journal).curve("test/accuracy")
        curves.append(np.array([value for _, value in points], dtype=np.float32))
        server = kept.get("server.optimizer", "sgd") == "fedavgm"
        momentum.append(float(kept.get("server.momentum", 0.0)) if server else 0.0)
    rows["momentum"] = momentum
    early = [
        100 * float(c[EARLY - TAIL : EARLY].mean()) if len(c) >= EARLY else np.nan for c in curves
    ]
    rows["accuracy_60"] = np.round(early, 4)
    first = HERE / "delay-digits.csv"
    known = [pd.read_csv(first, keep_default_na=False)] if name != first.stem else []
    calm = pd.concat([*known, rows])
    calm = calm[(calm["attack"] == "none") & (calm["defense"] == "mean") & (calm["mixing"] == "")]
    goals = dict(zip(_keys(calm), calm["accuracy_tail"].astype(float), strict=True))
    keys = _keys(rows)
    rows["reached"] = [
        first_reached(100 * curve, SHARE * goals[key]) if key in goals else np.nan
        for curve, key in zip(curves, keys, strict=True)
    ]
    rows.to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
    (HERE / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    longest = max(map(len, curves))
    stacked = np.full((len(curves), longest), np.nan, dtype=np.float32)
    for row, curve in zip(stacked, curves, strict=True):
        row[: len(curve)] = curve
    np.savez_compressed(HERE / f"{name}-curves.npz", accuracy=stacked)
    print(f"{len(rows)} runs, {told['not_finished']} not finished, {told['seconds']} s: {name}.csv")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
