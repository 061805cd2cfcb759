"""What every yaml of a defense or mixing has to agree on with its signature and its docstring."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fl_platform import defenses
from fl_platform.core import Aggregate, Updates
from fl_platform.core.context import Context, asks
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
    assert {name for _, name, _ in RULES} >= {
        *("mean", "median", "trimmed_mean", "krum", "multi_krum", "rfa", "aksel"),
        *("centered_clipping", "dnc", "bulyan", "mda"),
    }
    assert {name for _, name, _ in MIXINGS} >= {"nnm", "bucketing"}


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
    for key in asks(rule(0) if isinstance(rule, type) else rule):
        assert f"``{key}``" in text or f"{key}: " in text, key
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
    result = answer(rule, ROWS, 2)
    if group == "mixing":
        assert result.dtype == torch.float64
        if result.ndim == 1:  # factors, one a row
            assert result.shape == (len(ROWS),)
            assert (result >= 0).all()
            return
        assert result.shape[1] == len(ROWS)
        torch.testing.assert_close(result.sum(1), torch.ones(len(result)).double())
        return
    assert isinstance(result, Aggregate)
    assert result.vector.shape == (6,)
    assert result.vector.dtype == torch.float32
    if result.weights is not None:
        assert result.weights.shape == (12,)
        assert float(result.weights.sum()) + result.anchor_weight == pytest.approx(1)


@EVERY
def test_a_tensor_is_as_good_as_updates(group: str, name: str, node: dict[str, Any]) -> None:
    made = []
    for rows in (ROWS, ROWS.matrix):
        rule = getattr(defenses, name)
        rule = rule(0) if isinstance(rule, type) else rule
        given = answer(rule, rows, 2)
        made.append(given if group == "mixing" else given.vector)
    assert torch.equal(*made)


@EVERY
def test_the_rule_states_its_facts(group: str, name: str, node: dict[str, Any]) -> None:
    facts = getattr(defenses, name).facts
    assert facts.label
    assert facts.shardable is not None
    assert facts.tolerates is not None
    text = inspect.getdoc(getattr(defenses, name)) or ""
    assert group == "mixing" or name == "mean" or "Guarantees" in text


def answer(rule: Any, rows: Any, f: int) -> Any:
    """A call with all that the rule asks of the server: a reference, a model."""
    known = Context(
        clients=torch.arange(len(rows)),
        reference=torch.ones(6),
        model=torch.arange(6.0),
        layers=(2, 4),
    )
    return rule(rows, f, **known.asked(asks(rule)))


# What no two rules need share, so written down a second time: the largest f for n rows.
MINORITY = (
    *("median", "trimmed_mean", "rfa", "aksel", "centered_clipping", "dnc", "mda", "nnm", "arc"),
    *("norm_bound", "cge", "mea_med", "phocas", "monna", "caf", "smea", "flame", "sign_guard"),
    *("fl_detector", "rlr", "fed_seca", "lasa", "unit_rows", "spectral_filter", "crowding"),
)
ANY = ("mean", "bucketing", "fltrust", "foolsgold", "clipping", "cosine_bucketing")
LIMITS: dict[str, Callable[[int], int]] = {
    **dict.fromkeys(MINORITY, lambda n: (n - 1) // 2),
    **dict.fromkeys(ANY, lambda n: n),
    "krum": lambda n: max((n - 3) // 2, 0),
    "multi_krum": lambda n: max((n - 3) // 2, 0),
    "bulyan": lambda n: max((n - 3) // 4, 0),
    "gas": lambda n: max((n - 3) // 4, 0),  # that of its base
}


def test_every_rule_has_a_limit_written_down_here() -> None:
    assert set(LIMITS) == {name for _, name, _ in RULES + MIXINGS}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 11])
@pytest.mark.parametrize("name", LIMITS)
def test_f_is_accepted_up_to_the_limit_and_refused_beyond(name: str, n: int) -> None:
    rule = getattr(defenses, name)
    rule = rule(0) if isinstance(rule, type) else rule
    limit = LIMITS[name](n)
    assert largest_f(rule, n) == limit
    rows = Updates(ROWS.matrix[:n])
    for f in {0, limit}:
        result = answer(rule, rows, f)
        assert (result if isinstance(result, torch.Tensor) else result.vector).isfinite().all()
    inner = "bulyan" if name == "gas" else name
    stated = rf"0 to {limit}, the limit of {inner} for n={n} .* f=|the limit of gas"
    with pytest.raises(ValueError, match=stated):
        answer(rule, rows, limit + 1)


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
    ("bulyan", {"averaged": "median"}),
    ("cge", {"average": "median"}),
    ("mea_med", {"center": "mean"}),
    ("monna", {"pivot": 12}),
    ("monna", {"pivot": "reference"}),
    ("smea", {"max_subsets": 3}),
    ("fed_seca", {"sparsity": 2.0}),
    ("lasa", {"layers": (2, 3)}),
    ("fltrust", {"reference": None}),
    ("fltrust", {"reference": torch.ones(5)}),
    ("fltrust", {"reference": torch.full((6,), torch.nan)}),
    ("foolsgold", {"average": "mean"}),
    ("flame", {"vectors": "rows"}),
    ("flame", {"noise": -1.0}),
    ("sign_guard", {"lower": 4.0}),
    ("sign_guard", {"fraction": 1.5}),
    ("gas", {"groups": 0}),
    ("gas", {"base": "mean"}),
    ("fl_detector", {"window": 0}),
    ("cosine_bucketing", {"s": 0}),
    ("cosine_bucketing", {"by": "angle"}),
    ("bucketing", {"s": 0}),
    ("bucketing", {"f_after": "floor"}),
]


@pytest.mark.parametrize(("name", "parameters"), WRONG)
def test_a_wrong_parameter_is_refused_by_name(name: str, parameters: dict[str, Any]) -> None:
    rule = getattr(defenses, name)
    call = partial(rule, 0) if isinstance(rule, type) else partial(rule, ROWS, 2)
    with pytest.raises(ValueError, match=r"Expected .*got "):
        call(**parameters)
