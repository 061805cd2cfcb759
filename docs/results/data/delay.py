"""Keep, of each run of a grid, its accuracy at an early round, at the end, and how fast it rose.

python docs/results/data/delay.py NAME HOME

``NAME.csv`` has the columns of `collect` and: the server's ``momentum``, ``accuracy_60`` (the mean
of the last evaluations up to round 60, where earlier tables stop) and ``reached``: the first round
from which the mean of five evaluations is at least 80 % of the accuracy that the plain mean without
attack has at the end, for the same seed and server; empty if there is none. ``NAME-curves.npz`` has
the accuracy of every evaluation, in the order of the rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
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


def main(name: str, home: str) -> None:
    """Write the files of one grid, evaluated in every round."""
    root = Path(home).resolve()
    rows, told, _ = collect("delay", root)
    rows = rows[rows["status"] != "KILLED"].reset_index(drop=True)
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
    calm = rows[(rows["attack"] == "none") & (rows["defense"] == "mean")]
    goals = calm.set_index(["seed", "momentum", "rounds"])["accuracy_tail"].to_dict()
    keys = zip(rows["seed"], rows["momentum"], rows["rounds"], strict=True)
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
    main(*sys.argv[1:])
