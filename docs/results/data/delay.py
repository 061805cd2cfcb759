"""Keep accuracy at an early round, at the end, and how soon it rises, for all runs of a workspace.

python docs/results/data/delay.py delay-digits HOME
python docs/results/data/delay.py delay-tables HOME   # needs delay-digits.csv

``NAME.csv`` has the columns of `collect` and: the server's ``momentum``, ``accuracy_60`` (the mean
of the last evaluations up to round 60, where earlier tables stop) and ``reached``: the first round
from which the mean of five evaluations is at least 80 % of the accuracy that the plain mean without
attack and without mixing has at the end, for the same data, seed and server; empty if there is
none. ``delay-digits-curves.npz`` has the accuracy of every evaluation, in the order of the rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from collect import HERE, ORDER, circumstances, kept_rows

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


def main(name: str, home: str) -> None:
    """Write the files of all runs of a workspace that were evaluated in every round."""
    root = Path(home).resolve()
    frame = frames.runs(root, "folders")
    frame = frame[(frame["attack"] != "") & frame["status"].isin(["FINISHED", "FAILED"])]
    frame = frame.assign(variant=frames.variants(frame)).sort_values([*ORDER, "rounds"])
    histories = [read(run_folder(root, whole).journal) for whole in frame["config_hash"]]
    told = circumstances(frame, histories)
    curves = [
        np.array([value for _, value in history.curve("test/accuracy")], dtype=np.float32)
        for history in histories
    ]
    momentum = [
        float(kept["server.momentum"]) if kept.get("server.optimizer") == "fedavgm" else 0.0
        for kept in frame["parameters"]
    ]
    rows = kept_rows(frame).reset_index(drop=True)
    rows["momentum"] = momentum
    early = [
        100 * float(c[EARLY - TAIL : EARLY].mean()) if len(c) >= EARLY else np.nan for c in curves
    ]
    rows["accuracy_60"] = np.round(early, 4)
    first = HERE / "delay-digits.csv"
    known = [pd.read_csv(first, keep_default_na=False)] if name != first.stem else []
    calm = pd.concat([*known, rows])
    calm = calm[(calm["attack"] == "none") & (calm["defense"] == "mean")]
    calm = calm[(calm["mixing"] == "") & (calm["preset"] == "none")]
    goals = dict(zip(_keys(calm), calm["accuracy_tail"].astype(float), strict=True))
    keys = _keys(rows)
    rows["reached"] = [
        first_reached(100 * curve, SHARE * goals[key]) if key in goals else np.nan
        for curve, key in zip(curves, keys, strict=True)
    ]
    rows.to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
    (HERE / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    if name == first.stem:  # the figure draws these alone
        longest = max(map(len, curves))
        stacked = np.full((len(curves), longest), np.nan, dtype=np.float32)
        for row, curve in zip(stacked, curves, strict=True):
            row[: len(curve)] = curve
        np.savez_compressed(HERE / f"{name}-curves.npz", accuracy=stacked)
    print(f"{len(rows)} runs, {told['not_finished']} not finished, {told['seconds']} s: {name}.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
