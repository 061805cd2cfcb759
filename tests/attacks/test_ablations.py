import itertools

import numpy as np
import pytest
import torch

from fl_platform.attacks import lie_matched, strike, strike_ablation
from fl_platform.core import Updates
from tests import reference_attacks as reference


def rows(h=12, d=20, seed=0):
    return np.random.default_rng(seed).exponential(size=(h, d))


def updates(g):
    return Updates(torch.tensor(g))


def test_the_control_is_strike_itself():
    g = rows()
    same = strike_ablation(0, skewed_set="skewed", nu=0.5)(updates(g), 3)
    assert torch.equal(same, strike(updates(g), 3, nu=0.5))


def test_reversed_hides_among_the_rows_of_lowest_projection():
    g = rows()
    away = g.mean(0) - np.median(g, 0)
    expected = reference.hide(g, reference.skewed_set(g, 9, away))[0]
    sent = strike_ablation(0, skewed_set="reversed")(updates(g), 3)[0]
    np.testing.assert_allclose(sent, expected, atol=1e-9)
    assert not np.allclose(sent, strike(updates(g), 3)[0])


def test_all_moves_from_the_mean_towards_the_median_within_the_diameter():
    g = rows()
    sent = strike_ablation(0, skewed_set="all")(updates(g), 3)[0].numpy()
    u = np.median(g, 0) - g.mean(0)
    assert (np.sign(sent - g.mean(0)) == np.sign(u)).all()
    farthest = np.linalg.norm(g - sent, axis=1).max()
    assert farthest == pytest.approx(reference.diameter(g), rel=1e-9)


def test_random_sets_change_every_round_and_repeat_after_a_restore():
    g = rows()
    attack = strike_ablation(7)
    first = attack(updates(g), 3)
    state = attack.state_dict()
    second = attack(updates(g), 3)
    assert not torch.equal(first, second)
    other = strike_ablation(7)
    other.load_state_dict(state)
    assert torch.equal(other(updates(g), 3), second)


def test_a_random_set_is_one_of_the_sets_of_its_size():
    g = rows(h=6)
    sent = strike_ablation(1)(updates(g), 2)[0].numpy()
    every = [reference.hide(g, list(s))[0] for s in itertools.combinations(range(6), 4)]
    assert sum(np.allclose(sent, row, atol=1e-9) for row in every) == 1


@pytest.mark.parametrize("side", ["below", "above"])
def test_lie_at_strikes_distances(side):
    g = rows()
    chosen = reference.skewed_set(g, 9)
    hidden, alpha = reference.hide(g, chosen)
    step = alpha * np.linalg.norm(g[chosen].std(0))  # every sign is +-1: |v| = sqrt(V_S)
    total = np.linalg.norm(hidden - g.mean(0))
    given = 0.7 * np.sqrt(((g - g.mean(0)) ** 2).sum(1).mean())
    sign = -1 if side == "below" else 1
    for match, distance in (("step", step), ("total", total), ("given", given)):
        sent = lie_matched(updates(g), 3, match=match, distance=0.7, side=side)[0].numpy()
        way = g.std(0) / np.linalg.norm(g.std(0))
        np.testing.assert_allclose(sent, g.mean(0) + sign * distance * way, atol=1e-9)


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="Expected skewed_set"):
        strike_ablation(0, skewed_set="none")
    with pytest.raises(ValueError, match="Expected match"):
        lie_matched(updates(rows()), 3, match="nothing")
