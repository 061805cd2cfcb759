"""Tables behind the skew and robustness figures, computed from the curves of runs.

Keys: ``skew/NAME`` is a statistic of a round's honest updates, ``skew/NAME_null`` its mean on
sign-flipped updates (symmetric by construction) and ``skew/NAME_z`` its distance from that mean
in standard deviations of the null; ``round/kappa`` and ``round/kappa_bound`` are the empirical
robustness constant of the rule and its proven bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fl_platform.report.cells import Cell

if TYPE_CHECKING:
    import pandas as pd

SKEW = {
    "rho": "median shift ρ",
    "sk2": "Pearson's second coefficient",
    "gamma1": "third moment along u",
    "pc1_gamma1": "third moment along PC1",
    "mode_share": "share on the median's side",
    "t3": "rotation-free third moment",
    "variance_ratio": "variance of S over honest",
    "diameter_ratio": "diameter of S over honest",
    "shift": "shift of S from the mean",
    "alpha": "largest feasible step α*",
    "union_shift": "shift with hidden rows",
    "union_variance_ratio": "variance with hidden rows",
}
COLUMNS = ["metric", "step", "mean", "low", "high", "null_mean", "null_low", "null_high", "runs"]


def skew_table(found: Sequence[Cell], curves: pd.DataFrame) -> pd.DataFrame:
    """Skew statistics per round: mean and middle 80 % of the runs, with the null distribution.

    Args:
        found: Cells whose finished runs are pooled; the statistics describe honest updates.
        curves: Columns run_id, key, step, value.

    Returns:
        Columns metric, step, mean, low, high, null_mean, null_low, null_high (null mean ± 2
        standard deviations; NaN if no null was logged), runs.
    """
    import pandas as pd

    ids = finished_ids(found)
    names = {f"skew/{name}{end}" for name in SKEW for end in ("", "_null", "_z")}
    kept = curves[curves["key"].isin(names) & curves["run_id"].astype(str).isin(ids)]
    wide = kept.pivot_table(index=["run_id", "step"], columns="key", values="value")
    parts = []
    for name in SKEW:
        if f"skew/{name}" not in wide:
            continue
        own = wide[f"skew/{name}"].dropna()
        null = wide.get(f"skew/{name}_null", own * float("nan"))
        z = wide.get(f"skew/{name}_z", own * float("nan"))
        # The null's standard deviation is not logged: it is (value - null mean) / z.
        spread = ((wide[f"skew/{name}"] - null) / z.where(z != 0)).abs().groupby("step").mean()
        by_step = own.groupby("step")
        part = pd.DataFrame(
            {"mean": by_step.mean(), "low": by_step.quantile(0.1), "high": by_step.quantile(0.9)}
        )
        part["null_mean"] = null.groupby("step").mean().reindex(part.index)
        part["null_low"] = part["null_mean"] - 2 * spread.reindex(part.index)
        part["null_high"] = part["null_mean"] + 2 * spread.reindex(part.index)
        part["metric"] = name
        part["runs"] = own.index.get_level_values("run_id").nunique()
        parts.append(part.reset_index())
    return pd.concat(parts)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def kappa_table(found: Sequence[Cell], curves: pd.DataFrame) -> pd.DataFrame:
    """Largest empirical kappa of any round per cell, with the rule's proven constant.

    Returns:
        Columns attack, row, defense, kappa, constant (infinite: the rule has none; NaN: not
        logged).
    """
    import pandas as pd

    keys = ("round/kappa", "round/kappa_bound")
    kept = curves[curves["key"].isin(keys)]
    largest = kept.groupby(["run_id", "key"])["value"].max()
    rows = []
    for cell in found:
        measured, constants = (
            [largest[i, key] for i in finished_ids([cell]) if (i, key) in largest.index]
            for key in keys
        )
        if measured:
            constant = max(constants) if constants else float("nan")
            rows.append((cell.attack, cell.row, cell.column, max(measured), constant))
    return pd.DataFrame(rows, columns=["attack", "row", "defense", "kappa", "constant"])


def finished_ids(found: Sequence[Cell]) -> set[str]:
    """Run ids of the seeds that enter the means of ``found``."""
    return {
        str(run["run_id"])
        for cell in found
        for run in cell.runs
        if run.get("run_id") and run["seed"] in cell.values
    }
