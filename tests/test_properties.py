from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.defenses import largest_f, rfa
from tests.properties import (
    KAPPA,
    NO_KAPPA,
    PROPERTIES,
    REACHED,
    ROUNDING,
    RULES,
    TABLE,
    UNCLAIMED,
    Fails,
    definition_1,
    verdict,
    worst_kappa,
)

CELLS = [(rule, prop) for rule in RULES for prop in PROPERTIES]
HELD = [cell for cell in CELLS if not isinstance(verdict(*cell), Fails)]
FAILED = [cell for cell in CELLS if isinstance(verdict(*cell), Fails)]


def draw(seed: int, n: int, d: int, family: str) -> Tensor:
    """Rows in general position, or (``grid``) full of ties."""
    stream = torch.Generator().manual_seed(seed)
    if family == "grid":
        return torch.randint(-2, 3, (n, d), generator=stream).double()
    rows = torch.randn(n, d, generator=stream, dtype=torch.float64)
    if family == "skewed":
        return rows.exp()
    if family == "heavy":
        return rows**3
    if family == "attacked":
        rows[: n // 4] = 30 + rows[: n // 4]
    return rows.float() if family == "float32" else rows


FAMILIES = ["normal", "skewed", "heavy", "attacked", "float32"]
rounds = st.tuples(
    st.integers(0, 2**20), st.integers(7, 12), st.integers(1, 4), st.sampled_from(FAMILIES)
)
tried = settings(max_examples=12, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(("rule", "prop"), HELD, ids=[f"{r}-{p}" for r, p in HELD])
def test_property_holds(rule: str, prop: str) -> None:
    allowed, build = verdict(rule, prop), RULES[rule]
    assert isinstance(allowed, float)

    @tried
    @given(rounds, st.integers(0, 2))
    def check(made: tuple[int, int, int, str], f: int) -> None:
        seed, n, d, family = made
        rows = draw(seed, n, d, "grid" if prop == "permutation of ties" else family)
        departure = PROPERTIES[prop](build, rows, min(f, largest_f(build(), n)))
        assert departure <= allowed

    check()


@pytest.mark.parametrize(("rule", "prop"), FAILED, ids=[f"{r}-{p}" for r, p in FAILED])
def test_property_fails_on_its_counterexample(rule: str, prop: str) -> None:
    case = verdict(rule, prop)
    assert isinstance(case, Fails)
    rows = torch.tensor(case.rows, dtype=torch.float64)
    assert PROPERTIES[prop](RULES[rule], rows, case.f) > 0.01, case.why


def test_every_rule_has_a_row_and_every_property_a_column() -> None:
    assert list(TABLE) == list(RULES)
    assert all(len(row.split()) == len(PROPERTIES) for row in TABLE.values())


def overwriting(updates: Updates, num_byzantine: int) -> Aggregate:
    updates.matrix[0] = 0
    return Aggregate(updates.mean())


def drawing(updates: Updates, num_byzantine: int) -> Aggregate:
    return Aggregate(updates.matrix[int(torch.randint(len(updates), ()))])


def misweighing(updates: Updates, num_byzantine: int) -> Aggregate:
    equal = torch.full((len(updates),), 1 / len(updates), dtype=torch.float64)
    return Aggregate(updates.median(), equal)


@pytest.mark.parametrize(
    ("prop", "broken"),
    [("untouched", overwriting), ("repeatable", drawing), ("weights", misweighing)],
)
def test_a_broken_rule_is_found_out(prop: str, broken: Callable[..., Any]) -> None:
    """Negative controls for the properties that no rule of ours lacks."""
    rows = draw(0, 9, 3, "skewed")
    assert PROPERTIES[prop](lambda: partial(broken), rows, 2) > 0.01


@pytest.mark.parametrize("rule", KAPPA)
def test_definition_1_holds_with_its_constant(rule: str) -> None:
    @tried
    @given(rounds, st.integers(1, 3), st.booleans())
    def check(made: tuple[int, int, int, str], f: int, ties: bool) -> None:
        seed, n, d, family = made
        f = min(f, largest_f(RULES[rule](), n))
        rows = draw(seed, n, d, "grid" if ties else family)
        assert definition_1(RULES[rule], rows, f, KAPPA[rule](n, f)) <= 1e-6

    check()


@pytest.mark.parametrize("rule", REACHED)
def test_exact_constants_are_reached(rule: str) -> None:
    rows = torch.tensor(REACHED[rule], dtype=torch.float64)
    reached = worst_kappa(RULES[rule]()(Updates(rows), 2).vector, rows, 2)
    assert reached == pytest.approx(KAPPA[rule](10, 2), rel=1e-6)


@pytest.mark.parametrize("rule", NO_KAPPA)
def test_rules_without_a_constant_are_carried_away(rule: str) -> None:
    case = NO_KAPPA[rule]
    rows = torch.tensor(case.rows, dtype=torch.float64)
    assert worst_kappa(RULES[rule]()(Updates(rows), case.f).vector, rows, case.f) > 1000, case.why


def test_every_rule_says_what_definition_1_means_for_it() -> None:
    assert sorted([*KAPPA, *NO_KAPPA, *UNCLAIMED]) == sorted(RULES)


@pytest.mark.parametrize("start", ["inner", "median"])
@pytest.mark.parametrize("family", [*FAMILIES, "grid"])
def test_rfa_stays_within_its_bound_after_the_fact(start: Any, family: str) -> None:
    n, f = 11, 3
    for seed in range(20):
        rows = draw(seed, n, 3, family).double()
        z = rfa(Updates(rows), f, start=start).vector
        group = rows[f:]
        honest = group.mean(0)
        excess = (rows - z).norm(dim=1).sum() - (rows - honest).norm(dim=1).sum()
        spread = (group - honest).norm(dim=1).sum()
        bound = (2 * spread + excess.clamp_min(0)) / (n - 2 * f)
        assert (z - honest).norm() <= bound * (1 + ROUNDING)
