from dataclasses import replace

import pytest
import torch

from fl_platform.core import generator
from fl_platform.data import DataError, Dataset, hold_out, subset


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        name="tiny",
        train_images=torch.arange(40 * 4, dtype=torch.uint8).view(40, 1, 2, 2),
        train_labels=torch.arange(40) % 3,
        test_images=torch.zeros(6, 1, 2, 2, dtype=torch.uint8),
        test_labels=torch.arange(6) % 3,
        num_classes=3,
        mean=(0.5,),
        std=(0.25,),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": torch.arange(40) % 4}, "labels from 0 to 2"),
        ({"test_labels": torch.arange(6) - 1}, "labels from 0 to 2"),
        ({"train_labels": torch.zeros(39, dtype=torch.int64)}, "one for each image"),
        ({"train_labels": torch.zeros(40)}, "int64 labels"),
        ({"train_images": torch.zeros(40, 1, 2, 2)}, "uint8 images"),
        ({"test_images": torch.zeros(6, 2, 2, dtype=torch.uint8)}, "uint8 images"),
        ({"test_images": torch.zeros(6, 1, 3, 3, dtype=torch.uint8)}, "shaped like the training"),
        ({"train_images": torch.zeros(0, 1, 2, 2, dtype=torch.uint8)}, "none of them 0"),
        ({"std": (0.0,)}, "positive stds"),
        ({"mean": (float("nan"),)}, "finite means"),
        ({"std": (0.5, 0.5)}, "each of 1 channels"),
        ({"writers": torch.zeros(3, dtype=torch.int64)}, "int64 writer"),
    ],
)
def test_what_does_not_fit_together_is_refused(dataset, change, message):
    with pytest.raises(DataError, match=message):
        replace(dataset, **change)


def test_the_digest_names_the_content(dataset):
    again = replace(dataset, digest="", name="other name")
    assert again.digest == dataset.digest
    for change in (
        {"train_images": dataset.train_images.flip(0)},
        {"test_labels": dataset.test_labels.flip(0)},
        {"num_classes": 4},
        {"std": (0.5,)},
        {"writers": torch.zeros(40, dtype=torch.int64)},
    ):
        assert replace(dataset, digest="", **change).digest != dataset.digest


def split_is_whole(dataset: Dataset, train: Dataset, held: torch.Tensor) -> bool:
    """Whether training and held-out images together are the original images, each once."""
    both = torch.cat([train.train_images, held]).flatten(1)
    original = dataset.train_images.flatten(1)
    return sorted(map(tuple, both.tolist())) == sorted(map(tuple, original.tolist()))


def test_hold_out_keeps_every_image_exactly_once(dataset):
    train, images, labels = hold_out(dataset, 0.2, seed=3)
    assert (len(train.train_labels), len(images), len(labels)) == (32, 8, 8)
    assert split_is_whole(dataset, train, images)
    assert not split_is_whole(dataset, train, images[1:])  # the check sees a lost image
    assert not split_is_whole(dataset, dataset, images)  # and one that is in both
    assert train.digest == dataset.digest


def test_hold_out_depends_on_the_seed_alone(dataset):
    first, second, other = (hold_out(dataset, 0.5, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_hold_out_of_nothing_changes_nothing(dataset):
    train, images, labels = hold_out(dataset, 0.0, seed=0)
    assert torch.equal(train.train_images, dataset.train_images)
    assert images.shape == (0, 1, 2, 2)
    assert labels.shape == (0,)


def test_hold_out_leaves_no_writer_without_images(dataset):
    writers = torch.tensor([7] * 1 + [2] * 9 + [5] * 30)
    train, _, labels = hold_out(replace(dataset, writers=writers), 0.9, seed=0)
    assert train.writers is not None
    assert train.writers.unique(return_counts=True)[1].tolist() == [1, 2, 1]
    assert len(labels) == 36  # of 40 as asked; the largest remainder has nothing left to give


@pytest.mark.parametrize("each", [2, 3, 4, 5, 15, 25])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.2, 0.33, 0.5])
def test_the_asked_share_is_held_out_however_small_the_writers_are(dataset, each, fraction):
    writers = torch.arange(50).repeat_interleave(each)
    size = len(writers)
    many = replace(
        dataset,
        train_images=torch.zeros(size, 1, 2, 2, dtype=torch.uint8),
        train_labels=torch.zeros(size, dtype=torch.int64),
        writers=writers,
        digest="",
    )
    train, images, labels = hold_out(many, fraction, seed=0)
    assert len(images) == len(labels) >= 1
    assert abs(len(labels) - fraction * size) <= 1
    assert len(train.train_labels) + len(labels) == size
    assert len(train.writers.unique()) == 50
    per_writer = each - train.writers.unique(return_counts=True)[1]
    assert per_writer.max() - per_writer.min() <= 1
    givers = (hold_out(many, fraction, seed)[0].writers.bincount() for seed in range(3))
    if len(labels) % 50 > 0:
        assert len({tuple(counts.tolist()) for counts in givers}) > 1  # ties go to no fixed writer


def test_a_share_that_leaves_a_writer_nothing_is_refused_by_its_key(dataset):
    single = replace(dataset, writers=torch.arange(40))
    pairs = replace(dataset, writers=torch.arange(20).repeat_interleave(2))
    for writers, fraction in ((single, 0.1), (pairs, 0.9)):
        with pytest.raises(DataError, match=r"task\.validation: expected a share of at most"):
            hold_out(writers, fraction, seed=0)


def test_without_writers_the_held_out_images_are_those_of_all_versions(dataset):
    order = torch.randperm(40, generator=generator(5, "validation"))
    held = torch.zeros(40, dtype=torch.bool)
    held[order[:8]] = True
    assert torch.equal(hold_out(dataset, 0.2, seed=5)[1], dataset.train_images[held])


def test_a_subset_holds_that_many_images_in_their_order_and_depends_on_the_seed(dataset):
    some, again, other = (subset(dataset, 15, seed) for seed in (1, 1, 2))
    assert len(some.train_labels) == 15
    assert torch.equal(some.train_images, again.train_images)
    assert not torch.equal(some.train_images, other.train_images)
    rows = dataset.train_images.flatten(1).tolist()
    places = [rows.index(row) for row in some.train_images.flatten(1).tolist()]
    assert places == sorted(set(places))
    assert torch.equal(some.train_labels, dataset.train_labels[places])
    assert some.digest == dataset.digest
    assert torch.equal(subset(dataset, 40, 0).train_images, dataset.train_images)


@pytest.mark.parametrize("count", [0, 41])
def test_a_subset_of_no_or_too_many_images_is_refused(dataset, count):
    with pytest.raises(DataError, match=r"task\.samples: expected from 1 to 40.*got"):
        subset(dataset, count, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_hold_out_refuses_fractions_outside_its_range(dataset, fraction):
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        hold_out(dataset, fraction, seed=0)
