from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.defenses import Chain, largest_f, mean, median, multi_krum

HONEST = torch.randn(8, 5, generator=torch.Generator().manual_seed(1)).double()


def pairs(updates: Updates, num_byzantine: int) -> Tensor:
    """Each row averaged with the next: a mixing whose weights are easy to follow."""
    eye = torch.eye(len(updates), dtype=torch.float64)
    return (eye + eye.roll(1, 1)) / 2


class Halves:
    """Two rows become one, and f is halved with them."""

    def __call__(self, updates: Updates, num_byzantine: int) -> Tensor:
        mixing = torch.zeros(len(updates) // 2, len(updates), dtype=torch.float64)
        for row in range(len(mixing)):
            mixing[row, 2 * row : 2 * row + 2] = 0.5
        return mixing

    def num_byzantine_after(self, m: int, f: int) -> int:
        return (f + 1) // 2

    def rows_after(self, m: int) -> int:
        return m // 2


class Counting:
    """A rule with memory."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, updates: Updates, num_byzantine: int) -> Aggregate:
        self.calls += 1
        return Aggregate(updates.mean() * self.calls)

    def state_dict(self) -> dict[str, int]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def test_weights_are_over_all_received_rows() -> None:
    received = torch.cat([torch.full((1, 5), torch.nan).double(), HONEST])
    result = Chain(multi_krum, [pairs])(Updates(received), 2)
    assert result.weights is not None
    assert result.weights[0] == 0
    assert result.dropped is not None
    assert result.dropped.tolist() == [0]
    torch.testing.assert_close(result.weights[1:] @ HONEST, result.vector)
    torch.testing.assert_close(result.weights.sum(), torch.tensor(1.0).double())


def test_weights_of_two_mixings_multiply() -> None:
    result = Chain(mean, [pairs, Halves()])(Updates(HONEST), 0)
    assert result.weights is not None
    torch.testing.assert_close(result.weights @ HONEST, result.vector)


def test_coordinate_wise_rules_see_mixed_rows_and_have_no_weights() -> None:
    result = Chain(median, [pairs])(Updates(HONEST), 2)
    expected = median(Updates(pairs(Updates(HONEST), 2) @ HONEST), 2).vector
    assert result.weights is None
    torch.testing.assert_close(result.vector, expected)


def test_refused_rows_lower_f() -> None:
    received = Updates(torch.cat([torch.full((2, 5), torch.inf).double(), HONEST]))
    told: list[int] = []

    def listening(updates: Updates, num_byzantine: int) -> Aggregate:
        told.append(num_byzantine)
        return mean(updates, num_byzantine)

    Chain(listening)(received, 3)
    Chain(listening)(received, 1)
    Chain(listening, gate=False)(received, 3)
    assert told == [1, 0, 3]


def test_a_round_with_nothing_usable_keeps_the_model() -> None:
    result = Chain(median)(Updates(torch.full((3, 2), torch.nan)), 1)
    assert result.vector.tolist() == [0, 0]
    assert result.anchor_weight == 1
    assert result.dropped is not None
    assert result.dropped.tolist() == [0, 1, 2]
    assert not result.clamped


def test_excess_f_is_clamped_kept_or_refused() -> None:
    updates = Updates(HONEST)
    clamped = Chain(multi_krum, on_excess_f="clamp")(updates, 5)
    assert clamped.clamped
    assert torch.equal(clamped.vector, multi_krum(updates, 2).vector)
    kept = Chain(multi_krum, on_excess_f="keep_model")(updates, 5)
    assert kept.clamped
    assert kept.vector.abs().sum() == 0
    assert kept.weights is not None
    assert kept.weights.sum() + kept.anchor_weight == 1
    with pytest.raises(ValueError, match=r"at most f=2 .* multi_krum with n=8 rows, got f=5"):
        Chain(multi_krum, on_excess_f="error")(updates, 5)
    assert not Chain(multi_krum)(updates, 2).clamped


@pytest.mark.parametrize("f", [-1, True])
def test_a_count_that_cannot_be_is_refused(f: int) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Chain(mean)(Updates(HONEST), f)


def test_a_fixed_assumption_may_exceed_a_small_round() -> None:
    assert Chain(median)(Updates(HONEST), 9).clamped


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="clamp, keep_model or error"):
        Chain(mean, on_excess_f="ignore")  # type: ignore[arg-type]


def test_the_limit_of_a_chain_is_that_of_its_tightest_part() -> None:
    assert largest_f(Chain(multi_krum), 12) == 4
    # 6 rows arrive at the rule, which bears 1; 2 received Byzantine rows may become that one.
    assert largest_f(Chain(multi_krum, [Halves()]), 12) == 2


def test_sizes_reach_the_rule_through_gate_and_mixing() -> None:
    received = torch.cat([torch.full((1, 5), torch.nan).double(), HONEST])
    sizes = torch.tensor([99.0, 1, 2, 3, 4, 5, 6, 7, 8])
    weigh = partial(mean, weighting="data")
    plain = Chain(weigh)(Updates(received), 1, sizes)
    assert plain.weights is not None
    torch.testing.assert_close(plain.weights, sizes.double().index_fill(0, torch.tensor(0), 0) / 36)
    mixed = Chain(weigh, [Halves()])(Updates(received), 1, sizes)
    assert mixed.weights is not None
    expected = torch.tensor([0, 3, 3, 7, 7, 11, 11, 15, 15]).double() / 72
    torch.testing.assert_close(mixed.weights, expected)


def test_state_goes_through_a_save() -> None:
    first = Chain(Counting(), [pairs])
    first(Updates(HONEST), 0)
    second = Chain(Counting(), [pairs])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(Updates(HONEST), 0).vector, second(Updates(HONEST), 0).vector)
    with pytest.raises(ValueError, match=r"Expected the state of \['rule'\], got that of \[\]"):
        second.load_state_dict({})


def test_received_rows_are_left_as_they_were() -> None:
    received = torch.cat([torch.full((1, 5), torch.inf).double(), HONEST])
    before = received.clone()
    rules: list[Callable[..., Aggregate]] = [mean, median, multi_krum]
    for rule in rules:
        Chain(rule, [pairs])(Updates(received), 2)
    assert torch.equal(received, before)
