import numpy as np
import pytest
import torch

from fl_platform.attacks import fang, fang_krum, fang_trimmed_mean
from fl_platform.attacks.fang_krum import krum_prefers
from fl_platform.core import Updates
from tests import reference_attacks as reference


def rows(h, d=12, seed=0, offset=0.3):
    return np.random.default_rng(seed).normal(size=(h, d)) + offset


def updates(g):
    return Updates(torch.tensor(g))


def asked(defense, honest):
    calls = []

    def query(sent):
        calls.append(sent.clone())
        return defense(torch.cat([honest.matrix, sent]))

    return query, calls


@pytest.mark.parametrize("start", ["model", "mean"])
@pytest.mark.parametrize(("h", "f"), [(8, 2), (20, 5), (7, 2), (12, 4)])
def test_krum_form_equals_a_search_that_runs_krum(h, f, start):
    g = rows(h, seed=h)
    centre = g.mean(0) if start == "mean" else np.zeros(g.shape[1])
    ours = fang_krum(updates(g), f, start=start)
    np.testing.assert_allclose(ours[0], reference.fang_krum(g, f, centre), atol=1e-12)
    assert ours.shape == (f, g.shape[1])


def test_krum_selects_the_row_that_the_search_ends_on():
    g = rows(20, seed=1)
    sent = fang_krum(updates(g), 5).numpy()
    assert reference.krum_winner(np.vstack([g, sent]), 5) >= 20
    pushed_twice = 2 * sent
    assert reference.krum_winner(np.vstack([g, pushed_twice]), 5) < 20


def test_krums_preference_by_hand():
    between = torch.tensor([[0.0, 4.0, 4.0], [4.0, 0.0, 4.0], [4.0, 4.0, 0.0]])
    assert krum_prefers(torch.tensor([1.0, 1.0, 1.0]), between, 2)
    # A far row: twins are 0 apart, so one neighbour cannot tell them, and Krum prefers them.
    assert krum_prefers(torch.tensor([9.0, 9.0, 9.0]), between, 2)
    assert not krum_prefers(torch.tensor([9.0, 9.0, 9.0]), between, 1)


def test_trimmed_mean_form_lies_beyond_the_honest_values_against_the_mean():
    g = rows(9, seed=2)
    sent = fang_trimmed_mean(1)(updates(g), 4).numpy()
    low, high, mean = g.min(0), g.max(0), g.mean(0)
    below = (sent <= low) & (sent >= np.where(low > 0, low / 2, low * 2))
    above = (sent >= high) & (sent <= np.where(high > 0, high * 2, high / 2))
    assert np.where(mean > 0, below, above).all()
    assert len(np.unique(sent, axis=0)) == 4


def test_trimmed_mean_form_numbers_by_hand():
    g = np.array([[1.0, -4.0, -1.0, 0.0], [3.0, -2.0, 3.0, 0.0]])
    sent = fang_trimmed_mean(0, b=2.0, draw="edge")(updates(g), 3)
    assert sent.tolist() == [[0.5, -1.0, -2.0, 0.0]] * 3
    assert sent.stride(0) == 0


def test_draws_differ_between_calls_and_repeat_after_a_restore():
    g = rows(5)
    attack = fang_trimmed_mean(3)
    first = attack(updates(g), 2)
    state = attack.state_dict()
    second = attack(updates(g), 2)
    assert not torch.equal(first, second)
    other = fang_trimmed_mean(3)
    other.load_state_dict(state)
    assert torch.equal(other(updates(g), 2), second)


def test_search_finds_the_strength_at_which_a_defense_lets_go():
    g = rows(9, seed=4)
    honest = updates(g)
    mean = honest.mean()
    way = -mean.sign()
    radius = float(np.sqrt(((g - g.mean(0)) ** 2).sum(1).mean())) / float(way.norm())

    def cut(received):
        # Accepts what lies within 3.3 radii and ignores the rest.
        far = (received - mean).norm(dim=1)
        return received[far <= 3.3 * radius * float(way.norm())].mean(0)

    query, calls = asked(cut, honest)
    sent = fang(honest, 3, query, evaluations=24)
    strength = float((sent[0] - mean).norm()) / float(way.norm()) / radius
    assert strength == pytest.approx(3.3, abs=0.01)
    assert len(calls) == 24


def test_search_gains_over_every_strength_that_it_asked_about():
    g = rows(9, seed=4)
    honest = updates(g)

    def median(received):
        return received.median(0).values

    query, calls = asked(median, honest)
    sent = fang(honest, 3, query, objective="distance", deviation="std")
    moved = [float((median(torch.cat([honest.matrix, c])) - honest.mean()).norm()) for c in calls]
    best = float((median(torch.cat([honest.matrix, sent])) - honest.mean()).norm())
    assert best == pytest.approx(max(moved))
    assert best > moved[0]


def test_search_survives_a_defense_that_returns_no_numbers():
    honest = updates(rows(5))
    sent = fang(honest, 2, lambda sent: torch.full((12,), float("nan")), evaluations=6)
    assert torch.allclose(sent[0], honest.mean())


def test_search_asks_nothing_where_nobody_is_byzantine():
    def query(sent):
        raise AssertionError("asked")

    assert fang(updates(rows(5)), 0, query).shape == (0, 12)


def test_rows_that_are_not_finite_do_not_hang_the_halving():
    for wrong in (float("nan"), float("inf")):
        g = rows(6)
        g[1, 1] = wrong
        assert fang_krum(updates(g), 2).shape == (2, 12)


def test_wrong_names_are_refused():
    honest = updates(rows(5))
    with pytest.raises(ValueError, match="Expected objective"):
        fang(honest, 1, lambda sent: sent[0], objective="loss")
    with pytest.raises(ValueError, match="Expected start"):
        fang_krum(honest, 1, start="median")
    with pytest.raises(ValueError, match="Expected draw"):
        fang_trimmed_mean(0, draw="normal")
