"""Ranks of magnitudes from a sample and one pass: those of a sort, however the sample misleads."""

import pytest
import torch

from fl_platform.core import generator
from fl_platform.core.order_statistics import (
    WORTH_SAMPLING,
    magnitude_quantile,
    magnitudes_of_ranks,
)

LENGTH = WORTH_SAMPLING + 77
DRAWN = torch.randn(LENGTH, generator=generator(0, "ranks"))
PERIODIC = torch.where(torch.arange(LENGTH) % (LENGTH // (1 << 13)) == 0, DRAWN + 50, DRAWN)
ROWS = {"drawn": DRAWN, "misleading": PERIODIC, "tied": DRAWN.round(), "ordered": DRAWN.sort()[0]}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.3, 0.9, 1.0])
def test_ranks_are_those_of_a_sort(row, share):
    rank = int(share * (LENGTH - 1))
    after = min(rank + 1, LENGTH - 1)
    ordered = row.abs().sort().values
    assert magnitudes_of_ranks(row, rank, after) == [ordered[rank], ordered[after]]
    assert magnitudes_of_ranks(row[:500], 7) == [row[:500].abs().sort().values[7]]


def test_the_quantile_is_numpys():
    expected = float(DRAWN[:999].abs().double().quantile(0.9))
    assert float(magnitude_quantile(DRAWN[:999], 0.9)) == pytest.approx(expected, rel=1e-6)
