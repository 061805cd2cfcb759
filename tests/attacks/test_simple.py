"""The attacks of one line: none, absent, bit_flip, label_flip, ipm, lie."""

import numpy as np
import pytest
import torch

from fl_platform.attacks import absent, bit_flip, ipm, label_flip, lie, none
from fl_platform.attacks.lie import supporters_z
from fl_platform.core import Updates
from tests import reference_attacks as reference


def updates(h=9, d=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Updates(torch.randn(h, d, dtype=torch.float64, generator=draw) + 2)


def test_none_is_the_update_itself_and_bit_flip_its_negative():
    update = torch.tensor([1.0, -2.0, 0.0])
    assert none(update) is update
    assert bit_flip(update).tolist() == [-1.0, 2.0, 0.0]
    assert update.tolist() == [1.0, -2.0, 0.0]


def test_absent_sends_no_row_of_the_same_kind():
    sent = absent(updates(), 4)
    assert sent.shape == (0, 6)
    assert updates().extended(sent).matrix.shape == (9, 6)


def test_label_flip_mirrors_and_comes_back():
    labels = torch.tensor([0, 3, 9, 4], dtype=torch.int64)
    flipped = label_flip(labels, 10)
    assert flipped.tolist() == [9, 6, 0, 5]
    assert torch.equal(label_flip(flipped, 10), labels)
    assert flipped.dtype == labels.dtype


def test_label_flip_renames_one_class_and_no_other():
    labels = torch.tensor([2, 7, 2, 1])
    assert label_flip(labels, 10, source=2, target=7).tolist() == [7, 7, 7, 1]
    assert labels.tolist() == [2, 7, 2, 1]


def test_label_flip_refuses_what_would_make_labels_outside_the_task():
    with pytest.raises(ValueError, match="Expected labels from 0 to 9, got 0 to 46"):
        label_flip(torch.tensor([0, 46]), 10)
    with pytest.raises(ValueError, match="Expected labels as a tensor of integers"):
        label_flip(torch.tensor([0.0]), 10)
    with pytest.raises(ValueError, match="Expected source and target together"):
        label_flip(torch.tensor([0]), 10, source=1)
    with pytest.raises(ValueError, match="Expected target from 0 to 9, got 10"):
        label_flip(torch.tensor([0]), 10, source=1, target=10)
    with pytest.raises(ValueError, match="num_classes >= 2"):
        label_flip(torch.tensor([0]), 1)


def test_label_flip_takes_an_empty_client():
    assert label_flip(torch.empty(0, dtype=torch.int64), 10).shape == (0,)


def test_ipm_is_minus_a_part_of_the_mean_on_equal_rows_without_memory():
    honest = updates()
    sent = ipm(honest, 3, scale=0.25)
    assert torch.allclose(sent, -0.25 * honest.matrix.mean(0).expand(3, -1))
    assert sent.stride(0) == 0


@pytest.mark.parametrize("side", ["below", "above"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_lie_is_z_standard_deviations_off_the_mean(side, ddof):
    honest = updates()
    expected = reference.lie(honest.matrix.numpy(), 1.2, side == "above", ddof)
    np.testing.assert_allclose(lie(honest, 2, z=1.2, side=side, ddof=ddof)[1], expected)


@pytest.mark.parametrize(("n", "f", "z"), [(50, 10, 0.25335), (10, 2, 0.0), (50, 24, 1.42608)])
def test_z_from_the_supporters(n, f, z):
    assert supporters_z(n - f, f) == pytest.approx(z, abs=1e-4)
    assert supporters_z(n - f, f) == pytest.approx(reference.lie_z(n, f), abs=1e-9)


def test_z_of_the_shipped_table_is_the_distribution_not_its_inverse():
    assert supporters_z(40, 10, "ndss21") == pytest.approx(0.72575, abs=1e-5)


@pytest.mark.parametrize(("h", "f"), [(1, 0), (1, 9), (2, 1), (3, 3), (2, 30)])
def test_z_stays_finite_where_the_byzantine_rows_are_a_majority(h, f):
    assert 0 <= supporters_z(h, f) < 4


def test_lie_takes_its_z_from_n_and_f_when_told():
    honest = updates(h=40)
    expected = reference.lie(honest.matrix.numpy(), reference.lie_z(50, 10))
    np.testing.assert_allclose(lie(honest, 10, z=99.0, z_from="baruch", side="below")[0], expected)


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="Expected side"):
        lie(updates(), 1, side="left")
    with pytest.raises(ValueError, match="Expected z_from"):
        lie(updates(), 1, z_from="table")
