"""The field's rules that ask for more than rows, draw, remember, or cluster."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN, MeanShift

from fl_platform import defenses
from fl_platform.core import Updates, generator
from fl_platform.core.context import Context
from fl_platform.defenses import Chain, mean, median
from fl_platform.defenses.fl_detector import hessian_product, more_than_one_cluster, two_means
from fl_platform.defenses.flame import cosine_distances, majority_cluster
from fl_platform.defenses.foolsgold import cosines
from fl_platform.defenses.sign_guard import largest_cluster, sign_features
from tests import reference_defenses as plain
from tests import reference_field as reference


def rows(n=11, d=7, seed=0, shift=0.0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=stream, dtype=torch.float64) + shift


def close(vector, expected):
    np.testing.assert_allclose(vector.numpy(), expected, rtol=1e-6, atol=1e-9)


# -- a reference of the server's own -----------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_fltrust_equals_its_formula_by_hand(seed):
    given, own = rows(seed=seed, shift=0.3), rows(1, seed=seed + 50, shift=0.3)[0]
    result = defenses.fltrust(given, 3, own)
    close(result.vector, reference.fltrust(given.numpy(), 3, own.numpy()))
    close(result.weights @ given, result.vector.numpy())
    assert result.vector.norm() <= own.norm() * (1 + 1e-9)


def test_fltrust_where_nobody_agrees_keeps_the_model():
    own = torch.ones(7, dtype=torch.float64)
    result = defenses.fltrust(-torch.ones(4, 7, dtype=torch.float64), 1, own)
    assert result.vector.tolist() == [0] * 7
    assert result.anchor_weight == 1
    zero = torch.cat([torch.zeros(1, 7).double(), own[None]])
    close(defenses.fltrust(zero, 1, own).vector, own.numpy())


def test_monna_with_the_servers_own_vector():
    given, own = rows(), rows(1, seed=9)[0]
    away = (given - own).norm(dim=1).argsort(stable=True)[:8]
    result = defenses.monna(given, 3, own, pivot="reference")
    close(result.vector, given[away].mean(0).numpy())


def test_rules_that_ask_are_served_through_a_chain():
    given, own = rows(), rows(1, seed=9)[0]
    received = torch.cat([torch.full((1, 7), torch.nan).double(), given])
    result = Chain(defenses.fltrust)(received, 2, context=Context(reference=own))
    close(result.vector, reference.fltrust(given.numpy(), 3, own.numpy()))
    assert result.weights[0] == 0


# -- factors before a rule ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mixing", "twin"), [("arc", reference.arc), ("clipping", reference.clipping)]
)
@pytest.mark.parametrize("f", [0, 2, 4])
def test_clipped_rows_reach_any_rule(mixing, twin, f):
    given = rows()
    shortened = torch.from_numpy(twin(given.numpy(), f))
    for rule in (mean, median, defenses.multi_krum, defenses.rfa, defenses.caf):
        f_here = min(f, 2)
        result = Chain(rule, [lambda u, _: getattr(defenses, mixing)(u, f)])(given, f_here)
        close(result.vector, rule(shortened, f_here).vector.numpy())
        if result.weights is not None:
            close(result.weights @ given, result.vector.numpy())
            assert float(result.weights.sum()) + result.anchor_weight == pytest.approx(1)


def test_arc_then_nnm_then_a_rule_pulls_weights_back_through_both():
    given = rows(seed=3) * torch.arange(1, 12)[:, None]
    result = Chain(defenses.multi_krum, [defenses.arc, defenses.nnm])(given, 2)
    shortened = torch.from_numpy(reference.arc(given.numpy(), 2))
    mixed = plain.nnm(shortened.numpy(), 2, True)
    close(result.vector, plain.multi_krum(mixed, 2))
    close(result.weights @ given, result.vector.numpy())


# -- clusters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_majority_cluster_is_hdbscan(seed):
    n = 9 + seed
    given = rows(n, 5, seed, shift=0.5 * (seed % 3))
    given[: n // 3] -= 2 * given.mean(0)
    apart = cosine_distances(Updates(given).squared_distances(), given.square().sum(1))
    expected = torch.tensor(
        [[1 - reference.cosine(a, b) for b in given.numpy()] for a in given.numpy()],
        dtype=torch.float64,
    ).fill_diagonal_(0)
    torch.testing.assert_close(apart, expected, rtol=1e-9, atol=1e-12)
    labels = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, allow_single_cluster=True, metric="precomputed",
        copy=True,
    ).fit(apart.numpy()).labels_  # fmt: skip
    assert majority_cluster(apart).tolist() == (labels == 0).tolist()


def test_flame_clusters_models_where_it_is_told_to():
    given, model = rows(shift=0.2), rows(1, seed=7)[0]
    result = defenses.flame(noise=0.0, vectors="models")(given, 2, model=model)
    close(result.vector, reference.flame(given.numpy(), 2, (model - given).numpy()))
    with pytest.raises(ValueError, match="Expected a model of shape"):
        defenses.flame(vectors="models")(given, 2)


def test_flames_noise_is_that_of_its_stream_and_size():
    given = rows()
    quiet = defenses.flame(noise=0.0)(given, 2)
    rule = defenses.flame(3, noise=0.5)
    for call in range(2):
        noise = rule(given, 2).vector - quiet.vector
        drawn = torch.randn(7, generator=generator(3, "flame", call)).double()
        close(noise, (0.5 * given.norm(dim=1).median() * drawn).numpy())
    assert rule(given, 2).weights is None


@pytest.mark.parametrize("seed", range(10))
def test_mean_shift_is_that_of_scikit_learn(seed):
    points = rows(15, 3, seed)
    points[:6] += 4
    width = float(torch.cdist(points, points).sort(1).values[:, 15 // 2 - 1].mean())
    labels = MeanShift(bandwidth=width, cluster_all=False).fit(points.numpy()).labels_
    largest = np.bincount(labels[labels >= 0]).argmax()
    assert largest_cluster(points).tolist() == (labels == largest).tolist()


def test_sign_guard_averages_what_passes_both_tests():
    given = rows(12, 40, shift=0.6)
    given[0] *= 50  # too long
    given[1] = -given[1].abs()  # all signs the other way
    result = defenses.sign_guard(fraction=1.0)(given, 2)
    assert result.weights[0] == 0
    assert result.weights[1] == 0
    passed = largest_cluster(sign_features(given))
    passed[0] = False
    most = float(given.norm(dim=1).median())
    most = plain.middle([reference.length(row) for row in given.numpy()], "midpoint")
    expected = reference.shortened(given.numpy(), most)[passed.numpy()].mean(0)
    close(result.vector, expected)


def test_sign_guard_without_anybody_keeps_the_model():
    same = torch.ones(5, 4, dtype=torch.float64)
    assert torch.equal(defenses.sign_guard()(same, 1).vector, same[0])
    apart = torch.diag(torch.tensor([1.0, 1e3, 1e6, 1e9, 1e12], dtype=torch.float64))
    result = defenses.sign_guard(lower=0.9, upper=1.1, fraction=1.0)(apart, 1)
    assert float(result.weights.sum()) + result.anchor_weight == pytest.approx(1)


@pytest.mark.parametrize("base", ["bulyan", "multi_krum", "median", "trimmed_mean", "rfa"])
def test_gas_scores_by_groups_of_its_own_draw(base):
    given = rows(11, 23, seed=2)
    result = defenses.gas(5, groups=4, base=base)(given, 2)
    index = torch.randperm(23, generator=generator(5, "gas", 0))
    scores = np.zeros(11)
    for group in index.chunk(4):
        part = given[:, group].numpy()
        answer = getattr(plain, base)(part, 2)
        scores += [plain.distance(row, answer) for row in part]
    kept = sorted(range(11), key=lambda i: (scores[i], i))[:9]
    close(result.vector, given[sorted(kept)].mean(0).numpy())


def test_lasa_judges_layer_by_layer():
    given = rows(12, 30, seed=4)
    for layers in ((10, 20), (1, 4, 25), (30,)):
        expected = reference.lasa(given.numpy(), 2, layers)
        close(defenses.lasa(given, 2, layers).vector, expected)


# -- memory by client --------------------------------------------------------------------------


def test_foolsgold_remembers_clients_and_not_places():
    stream = torch.Generator().manual_seed(3)
    rounds = [rows(6, 9, seed=s) for s in range(4)]
    rule, total = defenses.foolsgold(), np.zeros((6, 9))
    for given in rounds:
        order = torch.randperm(6, generator=stream)
        result = rule(given[order], 2, clients=order + 100)
        total += given.numpy()
        weights = reference.foolsgold_weights(total) / 6
        close(result.vector, weights @ given.numpy())
    assert defenses.foolsgold(memory=False)(rounds[0], 2).vector.isfinite().all()


def test_sybils_lose_their_weight():
    given = rows(8, 50, seed=1)
    given[5:] = given[5] + 0.01 * rows(3, 50, seed=2)
    result = defenses.foolsgold()(given, 3)
    assert result.weights[5:].abs().max() < 1e-6
    assert result.weights[:5].min() > 0.05


def test_cosines_of_a_row_of_zeros_are_zero():
    found = cosines(torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(found[0, 2], torch.tensor(0.5**0.5).double())
    assert found[1].tolist() == [0, 0, 0]


def test_a_mixing_leaves_foolsgold_no_clients_to_know():
    chain = Chain(defenses.foolsgold(), [defenses.bucketing()])
    with pytest.raises(ValueError, match="requires the client of each row"):
        chain(rows(), 2, context=Context(clients=torch.arange(11)))


def test_the_compact_hessian_is_bfgs_pair_by_pair():
    steps, changes = rows(3, 6, seed=1), rows(3, 6, seed=2)
    changes += 3 * steps  # positive curvature
    vector = rows(1, 6, seed=3)[0]
    expected = reference.hessian_product(steps.numpy(), changes.numpy(), vector.numpy())
    close(hessian_product(list(steps), list(changes), vector), expected)
    assert hessian_product([], [], vector).tolist() == [0] * 6


@pytest.mark.parametrize("seed", range(5))
def test_two_means_in_one_dimension_is_exact(seed):
    values = rows(9, 1, seed)[:, 0]
    edge, spread = two_means(values)
    assert spread == pytest.approx(reference.two_means(values.numpy()))
    assert edge in values.tolist()


def test_the_gap_statistic_tells_two_groups_from_one():
    stream = partial(generator, 0, "test")
    lone = torch.rand(40, generator=stream(1), dtype=torch.float64)
    two = torch.cat([lone / 20, 1 + lone / 20])
    assert more_than_one_cluster(two, 20, stream(2))
    assert not more_than_one_cluster(lone, 20, stream(3))
    assert not more_than_one_cluster(torch.ones(9), 20, stream(4))


def quadratic(rounds, attack, rule, n=10, f=3, d=12):
    """Clients descend quadratics that differ a little; the f first may send something else."""
    centres, model = 0.1 * rows(n, d, seed=8), torch.zeros(d, dtype=torch.float64) + 3
    curvature = torch.linspace(0.1, 0.5, d, dtype=torch.float64)
    stream, weights = torch.Generator().manual_seed(2), None
    for t in range(rounds):
        sent = curvature * (model - centres)
        sent[:f] = attack(sent[f:], t) if attack else sent[:f]
        order = torch.randperm(n, generator=stream)
        result = rule(sent[order], f, clients=order, model=model)
        weights = torch.empty_like(result.weights).index_copy_(0, order, result.weights)
        model = model - result.vector
    return weights


def test_fl_detector_flags_clients_that_cannot_be_predicted():
    def noisy(honest, t):
        return 3 * torch.randn(3, 12, generator=generator(0, "t", t)).double() - honest.mean(0)

    rule = defenses.fl_detector(window=5)
    weights = quadratic(5, noisy, rule)
    assert weights.tolist() == pytest.approx([0.1] * 10)  # nothing is flagged before N errors
    weights = quadratic(14, noisy, defenses.fl_detector(window=5))
    assert weights[:3].tolist() == [0, 0, 0]
    assert weights[3:].min() == pytest.approx(1 / 7)


def test_fl_detector_goes_on_from_a_saved_state():
    def run(rule, seeds, model):
        answers = []
        for seed in seeds:
            given = rows(9, 6, seed=seed)
            answers.append(rule(given, 2, clients=torch.arange(9), model=model(seed)).vector)
        return answers

    def model(seed):
        return rows(1, 6, seed=100 + seed)[0]

    expected = run(defenses.fl_detector(window=2), range(8), model)
    first = defenses.fl_detector(window=2)
    run(first, range(4), model)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = defenses.fl_detector(window=2)
    second.load_state_dict(torch.load(file, weights_only=True))
    for one, other in zip(run(second, range(4, 8), model), expected[4:], strict=True):
        assert torch.equal(one, other)


def test_cosine_bucketing_puts_one_of_each_group_into_a_bucket():
    given = rows(10, 6, seed=5)
    first, second = rows(2, 6, seed=6)
    rule = defenses.cosine_bucketing(s=2)
    rule(given, 2, model=first)
    mixing = rule(given, 2, model=second)
    step = (first - second).numpy()
    order = sorted(range(10), key=lambda i: reference.cosine(given[i].numpy(), step))
    for bucket in mixing:
        members = bucket.nonzero().flatten().tolist()
        assert [int(order.index(i) >= 5) for i in members].count(1) == 1
        assert bucket[members].tolist() == [0.5, 0.5]
    assert (mixing > 0).sum(0).tolist() == [1] * 10
    odd = defenses.cosine_bucketing(s=3, by="distance", toward="median")(rows(11), 2)
    assert odd.shape == (4, 11)
    torch.testing.assert_close(odd.sum(1), torch.ones(4).double())


@pytest.mark.parametrize("far", [1e2, 1e5, 1e9])
def test_caf_ends_however_far_a_row_is(far):
    given = rows(12)
    given[0] = far
    result = defenses.caf(given, 3)
    assert result.weights[0] == 0
    assert (result.vector - given[1:].mean(0)).norm() < 3
    close(result.vector, reference.caf(given.numpy(), 3))


def test_caf_and_smea_give_the_same_bits_twice():
    for rule in (defenses.caf, defenses.smea):
        assert torch.equal(rule(rows(), 3).vector, rule(rows(), 3).vector)
