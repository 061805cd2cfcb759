"""Values nearest to a middle, sign sums and pairs of products: compiled and torch, and a sort."""

import pytest
import torch

from fl_platform.core import Updates, coordinatewise, generator
from fl_platform.core.native import compiler as native
from fl_platform.core.native import kernels

pytestmark = pytest.mark.skipif(not native.enabled(), reason="no compiler here")
SHAPES = [(11, 2), (12, 5), (30, 20), (7, 0)]


@pytest.fixture(autouse=True)
def built(monkeypatch):
    monkeypatch.setattr(kernels, "WORTH_BUILDING", 0)


def rows(n, dtype):
    drawn = torch.randn(n, 203, generator=generator(n, "kernels"), dtype=dtype)
    drawn[:, ::5] = drawn[:, ::5].round()  # ties
    return drawn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "drop"), SHAPES)
@pytest.mark.parametrize("middle", ["midpoint", "lower", "upper", "trimmed"])
def test_the_nearest_values_are_those_of_a_sort(monkeypatch, dtype, n, drop, middle):
    if middle == "trimmed" and 2 * drop >= n:
        pytest.skip("no value is left to average")
    updates, out = Updates(rows(n, dtype)), torch.empty(203, dtype=dtype)
    assert kernels.mean_nearest(updates.rows(), n - drop, middle, out)
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")
    plain = coordinatewise.mean_nearest(updates, n - drop, middle)
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sign_sums_and_aligned_products_equal_the_plain_ones(dtype):
    drawn = rows(11, dtype)
    updates, weights = Updates(drawn), torch.arange(11, dtype=dtype)
    expected = (weights[:, None] * drawn.sign()).sum(0)
    assert torch.equal(coordinatewise.sign_sums(updates, weights), expected)
    inner, squares = kernels.aligned(updates.rows(), drawn[3])
    torch.testing.assert_close(inner, drawn.double() @ drawn[3].double(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(squares, drawn.double().square().sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(kernels.offsets(updates.rows(), None), squares, rtol=1e-6, atol=0)
