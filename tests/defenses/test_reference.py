"""Each variant against formulas written a second time, on inputs without ties."""

import numpy as np
import pytest
import torch

from fl_platform.core import Updates
from fl_platform.defenses import Bucketing, nnm
from tests import reference_defenses as reference
from tests.defense_cases import VARIANTS, Variant


def inputs(n: int, d: int, seed: int) -> list[reference.Rows]:
    draw = np.random.default_rng(seed)
    skewed = draw.exponential(size=(n, d)) * np.linspace(0.1, 3, d)
    attacked = draw.normal(size=(n, d)) + 5
    attacked[:2] = -40 + draw.normal(size=(2, d))
    return [draw.normal(size=(n, d)), skewed, attacked, draw.standard_cauchy(size=(n, d))]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_rule_equals_its_formula(variant: Variant) -> None:
    for n, d, f in [(11, 5, 2), (12, 4, 2), (7, 1, 1), (8, 3, 0)]:
        for rows in inputs(n, d, seed=n):
            result = variant.build()(Updates(torch.from_numpy(rows)), f)
            # 1e-6: differences of squares lose digits where a distance is near zero (eps = 1e-7).
            np.testing.assert_allclose(
                result.vector.numpy(), variant.twin(rows, f), rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize("include_self", [True, False])
def test_nnm_equals_its_formula(include_self: bool) -> None:
    for n, d, f in [(11, 5, 2), (12, 4, 5), (7, 1, 1), (8, 3, 0)]:
        for rows in inputs(n, d, seed=n):
            mixing = nnm(Updates(torch.from_numpy(rows)), f, include_self=include_self)
            expected = reference.nnm(rows, f, include_self)
            np.testing.assert_allclose(mixing.numpy() @ rows, expected, atol=1e-9)


@pytest.mark.parametrize("s", [1, 2, 3, 20])
def test_bucketing_averages_each_row_once(s: int) -> None:
    rows = inputs(11, 5, seed=0)[0]
    mixing = Bucketing(7, s=s)(Updates(torch.from_numpy(rows)), 2)
    order = [row for bucket in mixing for row in bucket.nonzero().flatten().tolist()]
    assert sorted(order) == list(range(11))
    np.testing.assert_allclose(mixing.numpy() @ rows, reference.bucketing(rows, order, s))
