"""Settings of MLflow's page for the platform's runs: labels, steps, a view."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

ACCURACY = "test/accuracy"
VIEW = "fl_platform"  # the saved view's name and its key in addresses
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
SHOWN = ATTACK, DEFENSE = "Attack rule", "Defense rule"  # parameters for the page only
TRAINED = "tags.attack != ''"  # runs with training: parents have no attack
_TAIL = "result/accuracy_tail"
_WIDTHS = {  # widths of the table's columns in order, pixels
    f"params.`{ATTACK}`": 150,
    f"params.`{DEFENSE}`": 150,
    "params.`seed`": 70,
    f"metrics.`{_TAIL}`": 170,
    f"metrics.`{ACCURACY}`": 170,
}
_SINGLE = ("result/", "class/", "time/seconds")  # one number per run, not a curve
_NOTE = (  # one line: the page hides a second one
    "`test/accuracy`: curve, 0 to 1. `result/accuracy_tail`: its last evaluations' mean, in"
    " percent. The list sign below opens the table; group by `Attack rule` or `Defense rule`."
)


def shown_step(key: str, step: int) -> int:
    """The step under which a point is exported.

    The page draws a bar per run if all steps are 0, and a single dot on a time axis otherwise:
    step 0 for values that a run has once.
    """
    return 0 if key.startswith(_SINGLE) else step


def run_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags under the names that MLflow's own columns use."""
    columns = {"commit": "mlflow.source.git.commit"}
    own = {"mlflow.source.name": "fl_platform", "mlflow.source.type": "LOCAL"}
    filled = {theirs: tags[ours] for ours, theirs in columns.items() if tags.get(ours)}
    return own | filled if filled else {}


def rule_params(tags: Mapping[str, str]) -> dict[str, str]:
    """Attack and defense with their main parameters, as MLflow's first parameters of a comparison.

    MLflow sorts parameters by name and preselects three; capitals come first. Its axes show ten
    characters of a text, and if two texts begin alike, all labels above them stand at wrong lines:
    values are therefore given without their keys.

    >>> labels = {"attack_label": "lie(z=1.5, side=above)", "defense_label": "median"}
    >>> rule_params({**labels, "mixing": "nnm(include_self=False)"})
    {'Attack rule': 'lie 1.5 above', 'Defense rule': 'nnm include_self=False+median'}
    """
    if not tags.get("attack_label") or not tags.get("defense_label"):
        return {}
    defense = "+".join(filter(None, [tags.get("mixing"), tags["defense_label"]]))
    return {ATTACK: _brief(tags["attack_label"]), DEFENSE: _brief(defense)}


def _brief(label: str) -> str:
    """``name(key=value, ...)`` as ``name value ...``; a truth value keeps its key."""
    words = label.replace("(", " ").replace(", ", " ").replace(")", "")
    return re.sub(r"\w+=(?!True|False)", "", words)


def run_note(folder: str, *, trains: bool) -> str:
    """A run's description, with the path of its folder.

    Args:
        trains: False for the parent run of a grid, a study or a suite.
    """
    files = (
        "The resolved settings are `config.yaml` under Artifacts, beside the final weights and the"
        " figures."
        if trains
        else "A parent run without training. Its plan or report is under Artifacts."
    )
    return f"Run folder: `mlruns/runs/{folder}`. {files}"


def experiment_tags() -> dict[str, str]:
    """Tags of a new experiment: its description, the compared metric, and the saved view."""
    return {
        "mlflow.experiment.primaryMetric.name": ACCURACY,
        "mlflow.note.content": _NOTE,
        VIEW_TAG: json.dumps(
            {"name": VIEW, "createdAt": 0, "updatedAt": 0, "state": _packed(view())}
        ),
    }


def view() -> dict[str, Any]:
    """The state of a page for comparison: accuracy first, then results, then other metrics.

    The filter excludes parents, so no chart has a run without values. The order is one for which
    MLflow does not nest runs: in order of time it would show only parents, collapsed.


    Parallel coordinates use parameters that every run has; the page omits runs without one of them
    from that chart. Only the table of runs has columns.
    """
    sections = ("test", "result", "round", "skew", "time", "class", "model")
    charts = [
        _chart("LINE", "test", ACCURACY),
        {
            **_chart("PARALLEL", "test", "attack, defense and accuracy"),
            "selectedParams": [ATTACK, DEFENSE],
            "selectedMetrics": [_TAIL],
            "showAllRuns": True,
        },
        _chart("BAR", "test", _TAIL),
        _chart("LINE", "test", "test/loss"),
        _chart("BAR", "result", "result/accuracy_last"),
        _chart("BAR", "result", "result/accuracy_best"),
    ]
    return {
        "searchFilter": TRAINED,
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "selectedColumns": list(_WIDTHS),
        "columnOrder": list(_WIDTHS),
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # otherwise the sections are sorted by name
        "compareRunCharts": charts,
        "compareRunSections": [
            _section(name, shown=name in ("test", "result")) for name in sections
        ]
        + [_section(name, shown=False) for name in ("Model metrics", "System metrics")],
    }


def _section(name: str, *, shown: bool) -> dict[str, Any]:
    settings = {"display": shown, "isReordered": True, "deleted": False, "isGenerated": True}
    return {"uuid": f"{VIEW}-{name}", "name": name, "columns": 2, "cardHeight": 400, **settings}


def _chart(kind: str, section: str, name: str) -> dict[str, Any]:
    common = {
        "uuid": f"{VIEW}-{kind}-{name}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": f"{VIEW}-{section}",
        "deleted": False,
        "isGenerated": kind != "PARALLEL",
        "displayName": name.removeprefix(f"{section}/"),
    }
    if kind == "PARALLEL":
        return common
    axes = {
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
    return {**common, "metricKey": name, **(axes if kind == "LINE" else {})}


def _packed(state: Mapping[str, Any]) -> str:
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
