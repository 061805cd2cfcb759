"""Noise, infinities, searched strengths, and attackers that watch the global model."""

import io
from functools import partial

import numpy as np
import pytest
import torch

from fl_platform import attacks, defenses
from fl_platform.attacks.lie import supporters_z
from fl_platform.attacks.line_search import expand_and_contract
from fl_platform.core import Updates, generator
from fl_platform.defenses import Chain
from tests import reference_field as reference


def rows(n=9, d=12, seed=0, shift=0.3):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=stream, dtype=torch.float64) + shift


def close(vector, expected):
    np.testing.assert_allclose(vector.numpy(), expected, rtol=1e-9, atol=1e-12)


def oracle(honest, f, rule=defenses.median):
    return lambda sent: Chain(rule)(torch.cat([honest, sent]), f).vector


def test_simple_rows_are_what_they_say():
    assert torch.equal(attacks.zero(rows(), 2), torch.zeros(2, 12).double())
    assert torch.equal(attacks.inf(rows(), 2), torch.full((2, 12), torch.inf).double())


def test_infinities_are_dropped_by_the_input_check():
    honest = Updates(rows())
    result = Chain(defenses.mean)(honest.extended(attacks.inf(honest, 3)), 3)
    assert result.dropped.tolist() == [9, 10, 11]
    close(result.vector, honest.matrix.mean(0).numpy())


@pytest.mark.parametrize("around", ["zero", "mean"])
def test_gaussian_rows_are_normal_about_their_centre(around):
    honest = rows(20, 400)
    rule = attacks.gaussian(7, mu=0.5, sigma=2.0, around=around)
    sent = torch.cat([rule(honest, 30) for _ in range(3)])
    centre = 0.5 + (honest.mean(0) if around == "mean" else 0)
    noise = (sent - centre) / 2
    # Six standard errors of a mean and of a standard deviation over 36000 draws.
    assert abs(float(noise.mean())) < 6 / 36000**0.5
    assert abs(float(noise.std()) - 1) < 6 / 72000**0.5
    assert len(sent.unique(dim=0)) == 90
    drawn = torch.randn(30, 400, generator=generator(7, "gaussian", 0)).double()
    close(sent[:30], (centre + 2 * drawn).numpy())
    one = attacks.gaussian(7, draw="one")(honest, 5)
    assert one.stride(0) == 0


@pytest.mark.parametrize(("n", "f", "z"), [(50, 10, 0.4677), (10, 2, 0.2533)])
def test_the_quantile_of_all_clients(n, f, z):
    assert supporters_z(n - f, f, "baruch_n") == pytest.approx(z, abs=1e-4)
    honest = rows(n - f)
    sent = attacks.lie(honest, f, z_from="baruch_n")
    found = (sent[0] - honest.mean(0)) / honest.std(0, correction=0)
    torch.testing.assert_close(found, torch.full((12,), z).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("rule", [defenses.median, defenses.multi_krum, defenses.trimmed_mean])
def test_optimal_strengths_beat_a_grid_of_strengths_to_a_percent(rule):
    honest, f = rows(11), 3
    mean, query = honest.mean(0), oracle(rows(11), 3, rule)

    def moved(row):
        return float((query(row.expand(f, -1)) - mean).norm())

    grid = np.linspace(0, 12, 241)
    for name, way, start in (
        ("optimal_alie", honest.std(0, correction=0), mean),
        ("optimal_ipm", -mean, torch.zeros_like(mean)),
    ):
        sides = (1, -1) if name == "optimal_alie" else (1,)
        best = max(moved(start + side * z * way) for z in grid for side in sides)
        sent = getattr(attacks, name)(honest, f, query, evaluations=40)
        assert sent.shape == (f, 12)
        assert moved(sent[0]) >= 0.99 * best, name


def test_optimal_alie_on_one_side_stays_there():
    honest = rows(11)
    offsets = [
        attacks.optimal_alie(honest, 3, oracle(honest, 3), side=side)[0] - honest.mean(0)
        for side in ("below", "above")
    ]
    assert (offsets[0] <= 0).all()
    assert (offsets[1] >= 0).all()
    both = attacks.optimal_alie(honest, 3, oracle(honest, 3))[0] - honest.mean(0)
    assert any(torch.equal(both, one) for one in offsets)


def test_byzfls_search_goes_up_only():
    tried = []

    def peak(x):
        tried.append(x)
        return -abs(x - 35)

    # From 30 the steps 40, 32, ... shrink until one helps, which is 8.39; lower is never tried.
    assert expand_and_contract(peak, evaluations=30) == pytest.approx(38.388608)
    assert tried[:4] == [0, 10, 30, 70]
    assert len(tried) == 30
    # The best strength, 3, lies below the first step: 8 and 6.4 are worse than 0, 5.12 is kept.
    assert expand_and_contract(lambda x: -abs(x - 3), evaluations=12) == pytest.approx(5.12)
    honest = rows(11)
    sent = attacks.optimal_ipm(honest, 3, oracle(honest, 3), search="byzfl", evaluations=20)
    assert sent.isfinite().all()


def test_agr_tailored_for_krum_is_the_farthest_row_that_krum_takes():
    honest, f = rows(11), 3
    krum = oracle(honest, f, defenses.krum)
    sent = attacks.agr_tailored(honest, f, krum, target="krum")[0]
    way = honest.std(0, correction=0)
    gamma = float(((sent - honest.mean(0)) @ way) / (way @ way))
    assert gamma > 0

    def taken(strength):
        row = honest.mean(0) + strength * way
        return torch.equal(krum(row.expand(f, -1)), row)

    assert taken(gamma)
    assert not taken(gamma + 1e-3)


def test_agr_tailored_for_any_never_does_worse_than_the_mean():
    honest, f = rows(11), 3
    query = oracle(honest, f, defenses.trimmed_mean)
    for side in ("below", "above"):
        sent = attacks.agr_tailored(honest, f, query, side=side)
        plain = float((query(honest.mean(0).expand(f, -1)) - honest.mean(0)).norm())
        assert float((query(sent) - honest.mean(0)).norm()) >= plain


def test_mpaf_drags_the_model_to_its_base():
    rule, model = attacks.mpaf(4, scale=10.0), rows(1, seed=3)[0]
    first = rule(rows(), 2, model=model)
    drawn = torch.randn(12, generator=generator(4, "mpaf")).double()
    base = model.std(correction=0) * drawn
    close(first[0], (10 * (model - base)).numpy())
    assert first.stride(0) == 0
    later = rule(rows(seed=5), 2, model=model + 1)
    close(later[0], (10 * (model + 1 - base)).numpy())
    assert rule(rows(), 2, model=base).abs().max() < 1e-12


@pytest.mark.parametrize("angle", [90.0, 180.0, 270.0, 30.0])
def test_rop_equals_its_formula_round_by_round(angle):
    rule = attacks.rop(z=0.7, pi=0.6, lamb=0.8, angle=angle)
    models, last = rows(3, seed=11), None
    for t in range(3):
        honest = rows(seed=t)
        sent = rule(honest, 2, model=models[t])
        expected = reference.rop(honest.mean(0).numpy(), last, 0.7, 0.6, 0.8, angle)
        close(sent[0], expected)
        last = None if t == 2 else (models[t] - models[t + 1]).numpy()


def test_rop_at_ninety_degrees_is_orthogonal_and_at_its_place():
    rule, models = attacks.rop(z=2.0, pi=1.0, lamb=1.0), rows(2, seed=11)
    rule(rows(), 2, model=models[0])
    step = models[0] - models[1]
    offset = rule(rows(), 2, model=models[1])[0] - step
    assert abs(float(offset @ step)) < 1e-9
    assert float(offset.norm()) == pytest.approx(2)


def test_poisoned_fl_equals_its_formula_round_by_round():
    rule, models = attacks.poisoned_fl(6, strength=3.0), rows(4, seed=12)
    signs = torch.randint(0, 2, (12,), generator=generator(6, "poisoned_fl")).double() * 2 - 1
    assert not rule(rows(), 2, model=models[0]).any()
    step = (models[1] - models[0]).numpy()
    sent = -rule(rows(), 2, model=models[1])[0].numpy()
    scale = np.abs(step)
    first = 3 * np.linalg.norm(step) * scale * signs.numpy() / np.linalg.norm(scale)
    np.testing.assert_allclose(sent, first, rtol=1e-9)
    step = (models[2] - models[1]).numpy()
    again = -rule(rows(), 2, model=models[2])[0].numpy()
    np.testing.assert_allclose(
        again, reference.poisoned_fl(signs.numpy(), step, sent, 3.0), rtol=1e-9
    )


def test_poisoned_fl_weakens_only_where_the_model_does_not_follow():
    def factor(follow):
        rule = attacks.poisoned_fl(1, strength=4.0, interval=3)
        signs = torch.randint(0, 2, (400,), generator=generator(1, "poisoned_fl")).double() * 2 - 1
        model = torch.zeros(400, dtype=torch.float64)
        noise = torch.Generator().manual_seed(0)
        for _ in range(7):
            rule(rows(5, 400), 2, model=model)
            drift = torch.randn(400, generator=noise, dtype=torch.float64)
            model = model + (signs if follow else drift)
        return rule.factor

    assert factor(True) == 4.0
    assert factor(False) == pytest.approx(4.0 * 0.7**2)


@pytest.mark.parametrize("name", ["gaussian", "mpaf", "rop", "poisoned_fl"])
def test_what_remembers_goes_on_from_a_saved_state(name):
    build, models = partial(getattr(attacks, name), 3), rows(6, seed=21)

    def sent(rule, t):
        known = {} if name == "gaussian" else {"model": models[t]}
        return rule(rows(seed=t), 2, **known)

    whole = build()
    expected = [sent(whole, t) for t in range(6)]
    first = build()
    for t in range(3):
        sent(first, t)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build()
    second.load_state_dict(torch.load(file, weights_only=True))
    for t in range(3, 6):
        assert torch.equal(sent(second, t), expected[t])
    fresh = sent(build(), 5)
    assert not torch.equal(fresh, expected[5]) or name == "mpaf"


@pytest.mark.parametrize("name", ["mpaf", "rop", "poisoned_fl"])
def test_attacks_on_the_model_must_be_given_it(name):
    for model in (None, torch.ones(3)):
        with pytest.raises(ValueError, match=rf"Expected a model of shape \(12,\) for {name}"):
            getattr(attacks, name)()(rows(), 2, model=model)
