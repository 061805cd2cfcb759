from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fl_platform.tracking.mlflow.level import ABSENT, level


class _Client:
    """What `level` asks of MLflow's client, in two pages."""

    def __init__(self, **runs: dict[str, str]) -> None:
        self.params = runs
        self.tags: dict[str, dict[str, str]] = {}
        self.calls = 0

    def search_experiments(self) -> list[Any]:
        return [SimpleNamespace(experiment_id="1")]

    def search_runs(self, experiments: list[str], max_results: int, page_token: Any) -> Any:
        assert experiments == ["1"]
        names = sorted(self.params)
        half = names[:1] if page_token is None else names[1:]
        found = _Page(
            SimpleNamespace(
                info=SimpleNamespace(run_id=name),
                data=SimpleNamespace(params=dict(self.params[name]), tags=self.tags.get(name, {})),
            )
            for name in half
        )
        found.token = "more" if page_token is None else None
        return found

    def log_batch(self, run_id: str, params: list[Any]) -> None:
        assert 0 < len(params) <= 100
        self.calls += 1
        for param in params:
            assert param.key not in self.params[run_id]  # MLflow refuses a change
            self.params[run_id][param.key] = param.value


class _Page(list[Any]):
    token: str | None = None


def test_runs_get_the_parameters_that_others_have_and_nothing_else() -> None:
    client = _Client(
        a={"attack": "strike", "attack.nu": "1.0", "attack.median": "midpoint"},
        b={"attack": "lie", "attack.z": "1.5"},
        parent={"kind": "grid"},
    )
    assert level(client) == 2
    assert client.params["a"]["attack.z"] == ABSENT
    assert client.params["b"] == {
        "attack": "lie",
        "attack.z": "1.5",
        "attack.nu": ABSENT,
        "attack.median": ABSENT,  # a text: MLflow calls a missing one "unknown"
    }
    assert client.params["parent"] == {"kind": "grid"}
    calls = client.calls
    assert level(client) == 0
    assert client.calls == calls


def test_runs_that_are_older_than_the_page_s_parameters_get_them_from_their_tags() -> None:
    client = _Client(a={"attack": "lie"}, b={"attack": "none", "Attack rule": "none"})
    client.tags["a"] = {"attack_label": "lie(z=1.5)", "defense_label": "median", "mixing": "nnm"}
    assert level(client) == 2
    assert client.params["a"]["Attack rule"] == "lie 1.5"
    assert client.params["a"]["Defense rule"] == "nnm+median"
    assert client.params["b"]["Defense rule"] == ABSENT


def test_runs_with_equal_keys_are_left_alone() -> None:
    client = _Client(a={"attack": "lie", "attack.z": "1"}, b={"attack": "lie", "attack.z": "2"})
    assert level(client) == 0
    assert client.calls == 0


def test_more_than_one_call_holds_is_split() -> None:
    many = {f"x{number}": "1" for number in range(150)}
    client = _Client(a={"attack": "a", **many}, b={"attack": "b"})
    assert level(client) == 1
    assert client.calls == 2
    assert client.params["b"].keys() == client.params["a"].keys()
