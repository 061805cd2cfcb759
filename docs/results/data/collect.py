"""Keep what an experiment found as small files beside this one.

python docs/results/data/collect.py [--add] EXPERIMENT NAME HOME [KEY ...]

``NAME.csv`` has one row a run: what tells it apart, its accuracies in percent, its identity, and of
each KEY of the journal (``round/loss``) the mean of the last three values.
``NAME-skew.csv`` has skew statistics of each run without an attack under the plain mean, beside
their null, at the rounds where one was drawn; ``NAME.json`` says commit, data, versions and what it
all took.
With ``--add`` the earlier rows of ``NAME.csv`` stay, which must be of other runs, and no skew is
written.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fl_platform.grid import results as outcome
from fl_platform.tracking import frames as table
from fl_platform.tracking.history import History
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

HERE = Path(__file__).parent
KEPT = (
    *("task", "preset", "mixing", "beta", "byzantine_fraction", "clients", "rounds", "variant"),
    *("attack", "attack_label", "nu", "defense", "defense_label", "seed", "status"),
    *("accuracy_tail", "accuracy_last", "accuracy_best", "seconds", "config_hash", "setting"),
)
ORDER = ["mixing", "variant", "attack_label", "defense_label", "beta", "seed"]
LAST = 3  # values of a key
SKEW = ("rho", "mode_share", "sk2", "t3", "alpha")
CONDITIONS = (
    *("data_digest", "code_fingerprint", "device", "kernels", "local", "torch", "python"),
    "mkl",  # preloaded: all instructions of an AMD processor
)


def kept_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The stored columns of runs, in a fixed order of columns."""
    rows = frame[list(KEPT)].copy()
    rows["config_hash"] = rows["config_hash"].str[:16]
    for name in ("seed", "clients", "rounds"):
        rows[name] = rows[name].astype("Int64")
    return rows.round({"accuracy_tail": 4, "accuracy_last": 4, "accuracy_best": 4, "seconds": 1})


def circumstances(frame: pd.DataFrame, histories: Sequence[History]) -> dict[str, Any]:
    """Number of runs, seconds, commit, data, versions and processor of runs."""
    return {
        "runs": len(frame),
        "not_finished": int((frame["status"] != "FINISHED").sum()),
        "seconds": round(float(frame["seconds"].sum())),
        "commit": sorted(set(frame["commit"])),
        "dirty": sorted(set(frame["dirty"])),
        **{key: sorted({str(h.tags.get(key, "")) for h in histories}) for key in CONDITIONS},
        "processor": sorted({str(h.tags.get("processor", "")) for h in histories}),
    }


def collect(
    experiment: str, home: Path, keys: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """The rows, the circumstances and the skew statistics of an experiment's finished runs."""
    frame = outcome.frame_of(home, experiment, "folders")
    histories = [read(run_folder(home, identity).journal) for identity in frame["config_hash"]]
    rows = kept_rows(frame)
    for key in keys:
        ends = [[value for _, value in h.curve(key)][-LAST:] for h in histories]
        rows[key] = [round(statistics.fmean(end), 5) if end else math.nan for end in ends]
    rows = rows.sort_values(ORDER)
    told = circumstances(frame, histories)
    calm = frame[(frame["attack"] == "none") & (frame["defense"] == "mean")]
    curves = table.curves(home, outcome.KEYS, "folders")
    skew = curves.merge(calm[["run_id", "task", "beta", "seed"]], on="run_id")
    skew = skew.pivot_table("value", ["task", "beta", "seed", "step"], "key", dropna=False)
    skew = pd.concat({name: _beside_null(skew, name) for name in SKEW}, names=["metric"])
    return rows, told, skew


def _beside_null(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A statistic, the mean of its null, and how many deviations of the null lie between."""
    columns = {f"skew/{metric}": "value", f"skew/{metric}_null": "null", f"skew/{metric}_z": "z"}
    return values.reindex(columns=list(columns)).rename(columns=columns).dropna()


def with_earlier(
    rows: pd.DataFrame, told: dict[str, Any], name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and circumstances beside those of ``name`` whose runs are others."""
    earlier = pd.read_csv(HERE / f"{name}.csv")
    kept = earlier[~earlier["config_hash"].isin(rows["config_hash"])]
    if len(kept) < len(earlier):
        raise SystemExit(f"{name}.csv has runs of this home; collect without --add.")
    before = json.loads((HERE / f"{name}.json").read_text())
    both = {
        key: before.get(key, 0) + value
        if isinstance(value, int)
        else sorted({*before.get(key, [""]), *value})
        for key, value in told.items()
    }
    joined = pd.concat([kept.astype({"seed": "Int64"}), rows]).sort_values(ORDER)
    return joined[rows.columns], both


def main(*given: str) -> None:
    """Write the files of one experiment."""
    add = "--add" in given
    experiment, name, home, *keys = (word for word in given if word != "--add")
    rows, told, skew = collect(experiment, Path(home).resolve(), keys)
    if add:
        rows, told = with_earlier(rows, told, name)
        skew = skew.iloc[:0]
    rows.to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
    (HERE / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    if len(skew):
        skew.reset_index().round(5).to_csv(
            HERE / f"{name}-skew.csv", index=False, lineterminator="\n"
        )
    print(f"{len(rows)} runs, {told['not_finished']} not finished, {told['seconds']} s: {name}.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
