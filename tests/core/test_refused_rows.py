"""What is no matrix of updates is refused in words; what is one is computed with as it reads."""

import numpy as np
import pytest
import torch

from fl_platform.core import Updates, generator
from fl_platform.core.native import compiler


@pytest.mark.parametrize(
    "rows",
    [
        torch.zeros(3, 0),
        torch.zeros(0, 3),
        torch.zeros(3),
        torch.zeros(3, 2, device="meta"),
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.zeros(3, 2, dtype=torch.int64),
        torch.zeros(3, 2, dtype=torch.complex64),
        [[1.0, 2.0]],
        np.zeros((3, 2)),
        None,
    ],
    ids=str,
)
def test_what_is_no_matrix_of_rows_is_refused_in_words(rows) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Expected updates .*, got "):
        Updates(rows)


def lazily_negated(m: int, d: int) -> torch.Tensor:
    pairs = torch.randn(m, d, 2, generator=generator(0, "test"))
    parts = torch.view_as_complex(pairs).conj()
    return parts.imag


@pytest.mark.parametrize("d", [7, 3000])
def test_a_lazily_negated_tensor_is_read_as_its_values(d: int) -> None:
    lazy = lazily_negated(6, d)
    assert lazy.is_neg()
    assert not compiler.usable([lazy[0]])
    plain = lazy.resolve_neg().clone()
    ours, exact = Updates(lazy), Updates(plain)
    assert torch.equal(ours.squared_distances(), exact.squared_distances())
    assert torch.equal(ours.median(), exact.median())
    for row, same in ((lazy[1], plain[1]), (plain[1], plain[1])):
        off = (plain - plain[1]).double().square().sum(1)
        torch.testing.assert_close(ours.squared_distances_to(row), off, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.project(row), exact.project(same), rtol=1e-4, atol=1e-4)
    added = ours.extended(lazy[:2]).squared_distances()
    torch.testing.assert_close(
        added, exact.extended(plain[:2]).squared_distances(), rtol=1e-5, atol=1e-5
    )
