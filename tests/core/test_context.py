"""What a server knows of a round reaches the rules that ask for it, and no others."""

import pytest
import torch

from fl_platform.core import Aggregate, Updates
from fl_platform.core.context import Context, asks
from fl_platform.core.rule import rule
from fl_platform.defenses import Chain, mean

ROWS = Updates(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
KNOWN = Context(
    clients=torch.tensor([10, 11, 12, 13, 14, 15]),
    round=3,
    sizes=torch.tensor([1, 2, 3, 4, 5, 6]),
    losses=torch.arange(6.0),
    reference=torch.ones(4),
    model=torch.zeros(4),
    layers=(1, 3),
)


class Listening:
    def __init__(self):
        self.heard = None

    def __call__(self, updates, num_byzantine, clients=None, reference=None, sizes=None):
        self.heard = (clients, reference, sizes)
        return mean(updates, num_byzantine)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_rule_gets_what_it_names_and_nothing_else():
    heard = Listening()
    chain = Chain(heard)
    assert chain.asked == asks(heard) == {"clients", "reference", "sizes"}
    chain(ROWS, 1, context=KNOWN)
    clients, reference, sizes = heard.heard
    assert clients.tolist() == KNOWN.clients.tolist()
    assert reference is KNOWN.reference
    assert sizes.tolist() == [1, 2, 3, 4, 5, 6]
    assert asks(mean) == {"sizes"}
    Chain(mean)(ROWS, 1, context=KNOWN)


def test_rows_that_the_input_check_drops_take_their_clients_with_them():
    heard = Listening()
    received = ROWS.matrix.clone()
    received[1] = torch.nan
    Chain(heard)(Updates(received), 1, context=KNOWN)
    assert heard.heard[0].tolist() == [10, 12, 13, 14, 15]


def test_a_mixed_row_is_no_single_client_and_counts_all_samples():
    def pairs(updates, num_byzantine):
        return torch.eye(3).repeat_interleave(2, 1) / 2

    heard = []

    def sized(updates, num_byzantine, sizes=None):
        heard.append(sizes.tolist())
        return mean(updates, num_byzantine)

    Chain(sized, [pairs])(ROWS, 0, context=KNOWN)
    assert heard == [[3, 7, 11]]
    with pytest.raises(ValueError, match="requires the client of each row"):
        Chain(Listening(), [pairs])(ROWS, 0, context=KNOWN)


def test_a_scaled_row_is_still_its_clients_and_its_weight_goes_to_the_origin():
    def halved(updates, num_byzantine, sizes):
        assert sizes is not None
        return torch.full((len(updates),), 0.5)

    heard = Listening()
    result = Chain(heard, [halved])(ROWS, 0, context=KNOWN)
    assert heard.heard[0].tolist() == KNOWN.clients.tolist()
    torch.testing.assert_close(result.weights @ ROWS.matrix.double(), result.vector.double())
    torch.testing.assert_close(result.vector, ROWS.mean() / 2)
    assert float(result.weights.sum()) + result.anchor_weight == pytest.approx(1)
    assert result.anchor_weight == pytest.approx(0.5)


def test_scales_before_and_after_a_mixing_reach_the_weights():
    scales = torch.tensor([1.0, 0.5, 0.2, 1.0, 1.0, 0.1], dtype=torch.float64)

    def first(updates, num_byzantine):
        return scales

    def pairs(updates, num_byzantine):
        return torch.eye(3, dtype=torch.float64).repeat_interleave(2, 1) / 2

    def last(updates, num_byzantine):
        return torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)

    result = Chain(mean, [first, pairs, last])(ROWS, 0)
    by_hand = last(None, 0)[:, None] * (pairs(None, 0) @ (scales[:, None] * ROWS.matrix.double()))
    torch.testing.assert_close(result.vector.double(), by_hand.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        result.weights @ ROWS.matrix.double(), by_hand.mean(0), rtol=1e-12, atol=1e-12
    )


@rule(label="Own", tolerates=lambda n: n, shardable=True)
def own(updates: Updates, num_byzantine: int, reference: torch.Tensor | None = None) -> Aggregate:
    assert reference is not None
    return Aggregate(reference)


def test_a_decorated_rule_asks_too_and_runs_on_a_tensor():
    assert asks(own) == asks(own()) == {"reference"}
    assert own(ROWS.matrix, 0, reference=torch.ones(4)).vector.tolist() == [1, 1, 1, 1]
    assert Chain(own)(ROWS.matrix, 0, context=KNOWN).vector is KNOWN.reference
