"""Why the default side harms, on one step of logistic regression: labels are skewed, not gradients.

A client with shares q of the classes sends (p - q) a for features a >= 0, p the model's mean
probabilities, here those of untrained weights.
"""

import pytest
import torch

from fl_platform.attacks import lie
from fl_platform.core import Updates, generator


def honest(classes, beta, negative=False):
    """``(400, classes * 6)`` updates of clients whose shares are Dirichlet(beta)."""
    draws = generator(0, "sides")
    # Dirichlet shares are those of Gamma(beta) numbers; k squared normals sum to 2 Gamma(k / 2).
    parts = torch.randn(400, classes, round(2 * beta), generator=draws, dtype=torch.float64)
    gamma = parts.square().sum(2)
    shares = gamma / gamma.sum(1, keepdim=True)
    features = torch.rand(400, 6, generator=draws, dtype=torch.float64)
    rows = (1 / classes - shares)[:, :, None] * (-features if negative else features)[:, None]
    return Updates(rows.flatten(1))


def towards_the_median(updates):
    """The cosine between median less mean and the standard deviation."""
    way, std = updates.median() - updates.mean(), updates.std()
    return float(way @ std / (way.norm() * std.norm()))


@pytest.mark.parametrize("beta", [0.5, 1.0])
@pytest.mark.parametrize("classes", [3, 10, 62])
def test_most_clients_lie_above_the_mean(classes, beta):
    assert towards_the_median(honest(classes, beta)) > 0.8


def test_features_below_zero_turn_the_side_and_two_classes_have_none():
    assert towards_the_median(honest(10, 0.5, negative=True)) < -0.8
    assert abs(towards_the_median(honest(2, 0.5))) < 0.5


def test_the_default_takes_from_every_class():
    """The loss of a model after the default's row is higher than after the honest mean."""
    updates = honest(10, 0.5)
    shift = lie(updates, 1)[0] - updates.mean()
    assert float(shift.min()) > 0  # every weight falls
    assert torch.allclose(lie(updates, 1, side="below")[0] - updates.mean(), -shift)
