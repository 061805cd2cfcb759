"""What every yaml of a defense or mixing has to agree on with its signature and its docstring."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fl_platform import defenses
from fl_platform.core import Aggregate, Updates
from fl_platform.defenses import largest_f

CONF = Path(__file__).parents[2] / "conf"
ROLE = {"on_excess_f": "clamp", "assumed_f": None}


def nodes(group: str) -> dict[str, Any]:
    read = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / group).glob("*.yaml")}
    return {name: node for name, node in sorted(read.items()) if "_target_" in node}


RULES = [("defense", name, node) for name, node in nodes("defense").items()]
MIXINGS = [("mixing", name, node) for name, node in nodes("mixing").items()]
EVERY = pytest.mark.parametrize(
    ("group", "name", "node"), RULES + MIXINGS, ids=lambda value: str(value)[:20]
)
ROWS = Updates(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)))


def test_the_rules_of_the_paper_are_there() -> None:
    assert {name for _, name, _ in RULES} == {
        *("mean", "median", "trimmed_mean", "krum", "multi_krum", "rfa", "aksel"),
        *("centered_clipping", "dnc", "bulyan", "mda"),
    }
    assert {name for _, name, _ in MIXINGS} == {"nnm", "bucketing"}


@EVERY
def test_yaml_is_the_signature(group: str, name: str, node: dict[str, Any]) -> None:
    rule = getattr(defenses, name)
    assert node["_target_"] == f"fl_platform.defenses.{name}"
    assert name in defenses.__all__
    given = {key: value for key, value in node.items() if key != "_target_"}
    if group == "defense":
        assert {key: given.pop(key) for key in ROLE} == ROLE
    keywords = {
        key: parameter.default
        for key, parameter in inspect.signature(rule).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert given == keywords
    assert {key: type(value) for key, value in given.items()} == {
        key: type(value) for key, value in keywords.items()
    }


@EVERY
def test_docstring_names_each_parameter_and_a_source(
    group: str, name: str, node: dict[str, Any]
) -> None:
    rule = getattr(defenses, name)
    text = inspect.getdoc(rule) or ""
    for key in inspect.signature(rule).parameters:
        assert f"{key}: " in text, key
    assert "References:" in text


@EVERY
def test_the_first_line_is_the_command(group: str, name: str, node: dict[str, Any]) -> None:
    first = (CONF / group / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# fl-platform run ")
    assert f"{group}={name}" in first


@EVERY
def test_rules_answer_in_the_stated_form(group: str, name: str, node: dict[str, Any]) -> None:
    rule = getattr(defenses, name)
    rule = rule(0) if isinstance(rule, type) else rule
    result = rule(ROWS, 2)
    if group == "mixing":
        assert result.dtype == torch.float64
        assert result.shape[1] == len(ROWS)
        torch.testing.assert_close(result.sum(1), torch.ones(len(result)).double())
        return
    assert isinstance(result, Aggregate)
    assert result.vector.shape == (6,)
    assert result.vector.dtype == torch.float32
    assert result.weights is None or result.weights.shape == (12,)


LIMITS = {
    "mean": lambda n: n,
    "median": lambda n: (n - 1) // 2,
    "trimmed_mean": lambda n: (n - 1) // 2,
    "krum": lambda n: max((n - 3) // 2, 0),
    "multi_krum": lambda n: max((n - 3) // 2, 0),
    "rfa": lambda n: (n - 1) // 2,
    "aksel": lambda n: (n - 1) // 2,
    "centered_clipping": lambda n: (n - 1) // 2,
    "dnc": lambda n: (n - 1) // 2,
    "bulyan": lambda n: max((n - 3) // 4, 0),
    "mda": lambda n: (n - 1) // 2,
    "nnm": lambda n: (n - 1) // 2,
    "bucketing": lambda n: n,
}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 11])
@pytest.mark.parametrize("name", LIMITS)
def test_f_is_accepted_up_to_the_limit_and_refused_beyond(name: str, n: int) -> None:
    rule = getattr(defenses, name)
    rule = rule(0) if isinstance(rule, type) else rule
    limit = LIMITS[name](n)
    assert largest_f(rule, n) == limit
    rows = Updates(ROWS.matrix[:n])
    for f in {0, limit}:
        result = rule(rows, f)
        assert (result if name in ("nnm", "bucketing") else result.vector).isfinite().all()
    with pytest.raises(ValueError, match=rf"0 to {limit}, the limit of {name} for n={n} .* f="):
        rule(rows, limit + 1)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("mean", {"weighting": "size"}),
    ("mean", {"weighting": "data"}),
    ("median", {"kind": "mean"}),
    ("trimmed_mean", {"trim": -1}),
    ("krum", {"neighbors": "n-f"}),
    ("krum", {"distance_power": 3}),
    ("multi_krum", {"averaged": "all"}),
    ("multi_krum", {"averaged": 0}),
    ("rfa", {"start": "medoid"}),
    ("rfa", {"iterations": 0}),
    ("rfa", {"eps": 0.0}),
    ("aksel", {"center": "mean"}),
    ("aksel", {"keep": "all"}),
    ("centered_clipping", {"tau": 0.0}),
    ("centered_clipping", {"tau": float("nan")}),
    ("centered_clipping", {"iterations": 0}),
    ("centered_clipping", {"start": "previous"}),
    ("dnc", {"iterations": 0}),
    ("dnc", {"coordinates": 0}),
    ("dnc", {"filter": -1.0}),
    ("bulyan", {"selection": "once"}),
    ("bulyan", {"center": "mean"}),
    ("bulyan", {"averaged": "rows"}),
    ("bucketing", {"s": 0}),
    ("bucketing", {"f_after": "floor"}),
]


@pytest.mark.parametrize(("name", "parameters"), WRONG)
def test_a_wrong_parameter_is_refused_by_name(name: str, parameters: dict[str, Any]) -> None:
    rule = getattr(defenses, name)
    call = partial(rule, 0) if isinstance(rule, type) else partial(rule, ROWS, 2)
    with pytest.raises(ValueError, match=r"Expected .*got "):
        call(**parameters)
