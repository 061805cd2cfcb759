"""The same parameters in all runs of an experiment, as required by MLflow's comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.tracking.mlflow.ui_view import rule_params

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking.client import MlflowClient

ABSENT = "-"  # the value if a run's rule has no such parameter


def level(client: MlflowClient) -> int:
    """Set :data:`ABSENT` in runs that lack a parameter of other runs of their experiment.

    MLflow's parallel coordinates draw a missing number above the largest, as if the run had it
    (``attack.nu`` of an attack without nu), and a missing text as "unknown". With one text among
    the numbers the axis is a list of values, and the chart is correct. Runs without parameters
    (new ones, parents) are not changed. A repeated call adds nothing.

    Returns:
        The number of changed runs.
    """
    experiments = [e.experiment_id for e in client.search_experiments()]
    return sum(_level(client, _runs(client, number)) for number in experiments)


def _level(client: MlflowClient, runs: list[Run]) -> int:
    from mlflow.entities import Param

    known = [rule_params(run.data.tags) | run.data.params for run in runs]
    union = {key for params in known for key in params}
    changed = 0
    for run, params in zip(runs, known, strict=True):
        lacking = sorted(union - run.data.params.keys())
        for first in range(0, len(lacking), 100):  # MLflow's limit for one call
            missing = lacking[first : first + 100]
            client.log_batch(
                run.info.run_id, params=[Param(key, params.get(key, ABSENT)) for key in missing]
            )
        changed += bool(lacking)
    return changed


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        found += [run for run in page if "attack" in run.data.params]
        token = page.token
        if not token:
            return found
