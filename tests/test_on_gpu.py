"""The server's side of a round on a real GPU: a processor's answers, and the host never waits."""

import functools
import math
from collections.abc import Iterator

import pytest
import torch

from fl_platform.core import Updates, coordinatewise, generator, geometry
from fl_platform.core.deferred import deferring
from fl_platform.core.native import cuda_kernels
from fl_platform.defenses import Chain, median
from tests.device_cases import ATTACKS, DEFENSES, F, honest_rows, one_round

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DIMENSION = 100_000
CUDA = torch.device("cuda")
PAIRS = [(attack, "multi_krum") for attack in ATTACKS]
PAIRS += [("strike", defense) for defense in DEFENSES if defense != "multi_krum"]


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    yield
    torch.cuda.set_sync_debug_mode(before)


@pytest.fixture
def torch_only(monkeypatch):
    """No kernels of our own: what a machine without NVRTC computes."""
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")


@functools.cache
def expected(attack, defense):
    """What a processor answers."""
    return one_round(honest_rows(DIMENSION), ATTACKS[attack](), *DEFENSES[defense]())


def compare(attack, defense):
    vector, weights, numbers = expected(attack, defense)
    on_card = honest_rows(DIMENSION).cuda()
    with deferring():  # once without a check: libraries make their handles, kernels are compiled
        one_round(on_card, ATTACKS[attack](), *DEFENSES[defense]())
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    with deferring() as deferral:
        seen = one_round(on_card, ATTACKS[attack](), *DEFENSES[defense]())
    torch.cuda.set_sync_debug_mode("default")
    held, values = deferral.settle(seen[2])
    assert held
    torch.testing.assert_close(seen[0].cpu(), vector, rtol=1e-3, atol=1e-6)
    if weights is not None:
        torch.testing.assert_close(seen[1].cpu(), weights, rtol=1e-4, atol=1e-7)
    wrong = {}
    for name, value in numbers.items():
        if isinstance(value, float) and not name.endswith("_z"):
            alike = math.isclose(values[name], value, rel_tol=1e-3, abs_tol=1e-6)
            if not alike:
                wrong[name] = (values[name], value)
    assert not wrong


@pytest.mark.usefixtures("waiting_is_an_error")
@pytest.mark.parametrize(("attack", "defense"), PAIRS)
def test_a_round_waits_nowhere_and_answers_as_a_processor(attack, defense):
    compare(attack, defense)


@pytest.mark.usefixtures("torch_only", "waiting_is_an_error")
@pytest.mark.parametrize(("attack", "defense"), PAIRS)
def test_without_kernels_too(attack, defense):
    compare(attack, defense)


def test_kernels_are_there():
    """Else the tests above compare torch with itself."""
    rows = honest_rows(1000).cuda()
    out = torch.empty(1000, device=CUDA)
    places = cuda_kernels.addresses(rows)
    assert cuda_kernels.mean_of_ranks(places, 10, 30, out)
    assert cuda_kernels.variances(places, out)
    assert cuda_kernels.weighted_sum(places, torch.ones(40, device=CUDA), 1000) is not None
    assert cuda_kernels.offsets(places, rows[0]) is not None
    assert cuda_kernels.leading(torch.eye(4, device=CUDA).double()) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [1, 2, 3, 17, 40, 50, 64, 128, 130])
@pytest.mark.parametrize("d", [1, 127, 100_001])
def test_ranks_have_a_processors_bits_and_deviations_its_order(m, d, dtype):
    matrix = torch.randn(m, d, generator=generator(m, "gpu"), dtype=dtype)
    matrix[:, ::5] = matrix[:, ::5].sign()
    there, ordered = Updates(matrix.cuda()), matrix.sort(0).values
    for first, stop in (((m - 1) // 2, m // 2 + 1), (m // 2, m // 2 + 1), (m // 4, m - m // 4)):
        total = ordered[first].clone()
        for rank in range(first + 1, stop):  # a processor's bits: see test_coordinatewise
            total += ordered[rank]
        found = coordinatewise.mean_of_ranks(there, first, stop)
        assert torch.equal(found.cpu(), total / (stop - first))
    mean = matrix[0].clone()
    for row in matrix[1:]:
        mean += row
    mean /= m
    squares = torch.zeros(d, dtype=dtype)
    for row in matrix:
        squares += (row - mean).square()
    torch.testing.assert_close(there.std().cpu(), (squares / m).sqrt(), rtol=1e-6, atol=1e-12)


def test_rows_of_every_view_are_read_in_place():
    matrix = torch.randn(12, 5000, generator=generator(0, "views"))
    extra = torch.randn(3, 5000, generator=generator(1, "views"))
    weights = torch.rand(13, generator=generator(2, "views"), dtype=torch.float64)
    order = torch.randperm(15, generator=generator(3, "views"))[:13]

    def answers(device):
        base = Updates(matrix.to(device)).extended(extra.to(device)).select(order)
        mixed = base.mixed(torch.eye(13, dtype=torch.float64).roll(1, 0) / 2 + torch.eye(13) / 2)
        for seen in (base, mixed):
            yield seen.median()
            yield seen.std()
            yield seen.combine(weights.to(device))
            yield seen.squared_distances()
            yield seen.project(matrix[0].to(device))
            yield seen.squared_distances_to(matrix[1].to(device))
            yield seen.magnitudes()
            yield seen.gathered(torch.tensor([5, 0, 4999], device=device))

    for here, there in zip(answers("cpu"), answers("cuda"), strict=True):
        sums = 1e-5 if here.numel() >= 5000 else 1e-2  # along a row of 5000: close to no zero
        torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=sums)


def test_distances_stay_exact_beside_a_large_mean_and_far_rows():
    draws = generator(4, "gram")
    common = 1e4 * 0.01 * torch.randn(DIMENSION, generator=draws)
    rows = torch.randn(50, DIMENSION, generator=draws) * 0.01 + common
    rows[40:] = 1e6
    wide = rows[:40].double()
    exact = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist").square()
    seen = Updates(rows.cuda()).squared_distances()[:40, :40].cpu()
    off = ~torch.eye(40, dtype=torch.bool)
    assert float(((seen - exact).abs() / exact)[off].max()) < 1e-4


def test_a_row_that_is_no_number_is_dropped_after_all():
    rows = honest_rows(5000).cuda()
    rows[3, 17] = torch.nan
    with deferring() as deferral:
        one_round(rows, ATTACKS["lie"](), *DEFENSES["median"]())
    assert not deferral.settle({})[0]
    honest = Updates(rows)
    zeros = torch.zeros(F, 5000, device=CUDA)
    aggregate = Chain(median)(honest.extended(zeros), F)
    assert aggregate.dropped.tolist() == [3]
    assert aggregate.vector.isfinite().all()


def test_the_leading_eigenvector_is_that_of_an_eigensolver():
    for m in (2, 40, 54, 80):
        rows = torch.randn(m, m, generator=generator(m, "eigen"), dtype=torch.float64)
        gram = rows @ rows.T
        value, vector, total = geometry.leading(gram.cuda())
        values, vectors = torch.linalg.eigh(gram)
        assert float(value) == pytest.approx(float(values[-1]), rel=1e-10)
        assert abs(float(vector.cpu() @ vectors[:, -1])) == pytest.approx(1, abs=1e-9)
        assert float(total) == pytest.approx(float(values.sum()), rel=1e-10)
