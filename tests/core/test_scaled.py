"""Rows times a factor each: a view that answers as the scaled matrix itself would."""

import pytest
import torch

from fl_platform.core import Updates, products


def rows(offset=0.0, dtype=torch.float64, n=9, d=40):
    stream = torch.Generator().manual_seed(5)
    return (torch.randn(n, d, generator=stream, dtype=torch.float64) + offset).to(dtype)


SCALES = torch.tensor([1.0, 0.5, 0.25, 1.0, 0.0, 1.0, 0.9, 3.0, 0.1], dtype=torch.float64)


@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_a_view_answers_as_the_scaled_matrix(offset, dtype, close):
    base = Updates(rows(offset, dtype))
    view, whole = base.scaled(SCALES), Updates(SCALES.to(dtype)[:, None] * base.matrix)
    tolerance = {"rtol": close, "atol": close}
    torch.testing.assert_close(view.matrix, whole.matrix)
    torch.testing.assert_close(view.squared_distances(), whole.squared_distances(), **tolerance)
    torch.testing.assert_close(view.squared_norms(), whole.squared_norms(), **tolerance)
    torch.testing.assert_close(view.mean(), whole.mean(), **tolerance)
    torch.testing.assert_close(view.std(), whole.std(), **tolerance)
    torch.testing.assert_close(view.median(), whole.median(), **tolerance)
    point = base.matrix[2] + 1
    torch.testing.assert_close(
        view.squared_distances_to(point), whole.squared_distances_to(point), **tolerance
    )
    along = [one.project(point) - one.project(point)[0] for one in (view, whole)]
    torch.testing.assert_close(*along, rtol=close, atol=1e3 * close)
    weights = torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(view.combine(weights), whole.combine(weights), **tolerance)


def test_the_gram_is_that_of_the_scaled_rows_about_the_stated_centre():
    view = Updates(rows(7.0)).scaled(SCALES)
    centred = view.matrix - view.centre()
    torch.testing.assert_close(view.gram(), centred @ centred.T, rtol=1e-9, atol=1e-8)


def test_equal_scales_keep_the_distances_of_rows_far_from_zero():
    base = Updates(rows(1e4, torch.float32))
    view = base.scaled(torch.full((9,), 0.5))
    torch.testing.assert_close(view.squared_distances(), 0.25 * base.squared_distances())


def test_views_of_a_scaled_view_and_a_scaled_view_of_views():
    base = Updates(rows(2.0))
    index = torch.tensor([3, 0, 7])
    whole = (SCALES[:, None] * base.matrix)[index]
    for view in (base.scaled(SCALES).select(index), base.select(index).scaled(SCALES[index])):
        torch.testing.assert_close(view.matrix, whole)
        expected = Updates(whole).squared_distances()
        torch.testing.assert_close(view.squared_distances(), expected)
        torch.testing.assert_close(view.squared_norms(), whole.square().sum(1))
    added = base.scaled(SCALES).extended(torch.ones(2, 40, dtype=torch.float64))
    expected = Updates(added.matrix.clone()).squared_distances()
    torch.testing.assert_close(added.squared_distances(), expected)
    mixing = torch.full((2, 9), 1 / 9, dtype=torch.float64)
    mixed = base.scaled(SCALES).mixed(mixing)
    torch.testing.assert_close(mixed.matrix, mixing @ (SCALES[:, None] * base.matrix))


def test_the_gram_of_the_rows_is_not_formed_again(monkeypatch):
    base = Updates(rows())
    base.gram()
    calls = []
    original = products.centred_products
    monkeypatch.setattr(
        products, "centred_products", lambda *given: calls.append(1) or original(*given)
    )
    base.scaled(SCALES).squared_distances()
    assert not calls


def test_aligned_products_and_norms_come_from_one_pass():
    base = Updates(rows(3.0))
    inner, squares = base.aligned(torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(inner, base.matrix.sum(1))
    torch.testing.assert_close(squares, base.matrix.square().sum(1))
    torch.testing.assert_close(base.squared_norms(), squares)


@pytest.mark.parametrize(
    "scales", [torch.ones(8), torch.ones(9, 1), -torch.ones(9), torch.full((9,), torch.inf)]
)
def test_scales_that_are_none_are_refused(scales):
    with pytest.raises(ValueError, match=r"Expected scales of shape \(9,\), finite"):
        Updates(rows()).scaled(scales)
