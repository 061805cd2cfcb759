"""Rows of any size: the chain answers with finite numbers, and RFA does not ask for a unit."""

from functools import partial

import pytest
import torch

from fl_platform import defenses
from fl_platform.core import Updates, generator
from fl_platform.defenses import rfa
from fl_platform.defenses.chain import Chain

RULES = {
    "rfa": lambda: rfa,
    "rfa(mean)": lambda: partial(rfa, start="mean"),
    "rfa(zero)": lambda: partial(rfa, start="zero"),
    "centered_clipping": lambda: defenses.centered_clipping(iterations=3),
    "bulyan": lambda: defenses.bulyan,
    "dnc": lambda: defenses.dnc(),
    "krum": lambda: partial(defenses.krum, distance_power=4),
}
SIZES = [(torch.float32, s) for s in (1e-30, 1e18, 1e30, 1e38)]
SIZES += [(torch.float64, s) for s in (1e-100, 1e18, 1e100, 1e150, 1e300)]


def rows(n: int = 12, d: int = 40) -> torch.Tensor:
    return torch.randn(n, d, generator=generator(0, "test"), dtype=torch.float64) / 4


@pytest.mark.parametrize(("dtype", "size"), SIZES)
@pytest.mark.parametrize("name", RULES)
def test_rows_of_any_size_give_finite_answers(name: str, dtype: torch.dtype, size: float) -> None:
    received = (rows() * size).to(dtype)
    for far in (1.0, 1e11):
        received[-2:] *= far
        received = received.nan_to_num()
        vector = Chain(RULES[name]())(Updates(received), 2).vector
        assert vector.isfinite().all()


@pytest.mark.parametrize("power", [-120, -40, 0, 40])
@pytest.mark.parametrize("eps", [1e-7, 0.5])
def test_rfa_of_scaled_rows_is_its_answer_scaled(power: int, eps: float) -> None:
    scale = 2.0**power  # exact, so that nothing but a unit could differ
    vector, scaled = (rfa(Updates(x), 2, eps=eps).vector for x in (rows(), rows() * scale))
    assert torch.equal(vector * scale, scaled)


def test_rfa_of_equal_rows_is_that_row() -> None:
    same = torch.ones(5, 3)
    for received in (same, torch.cat([same, 9 * torch.ones(1, 3)]), 0 * same):
        vector = rfa(Updates(received), 1).vector
        torch.testing.assert_close(vector, received[0], rtol=1e-6, atol=0)
