"""Handwritten digits of scikit-learn: real data without a download."""

from __future__ import annotations

import torch

from fl_platform.core.rng import generator
from fl_platform.data.dataset import Dataset

TEST_SIZE = 360


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels in 10 classes: 1,437 for training, 360 for test.

    Pixels are the 17 grey levels 0 .. 16 of the source; ``std = 16 / 255`` makes the normalised
    pixel ``x / 16``. The split is ours: drawn from the stream "digits/split" of seed 0, the same
    for every seed of a run.

    References:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998; the copy is the one in ``sklearn.datasets.load_digits``.
    """
    from sklearn.datasets import load_digits  # takes seconds to import; only this task needs it

    source = load_digits()
    images = torch.from_numpy(source.images).to(torch.uint8).unsqueeze(1)  # (1797, 1, 8, 8)
    labels = torch.from_numpy(source.target).to(torch.int64)
    order = torch.randperm(len(labels), generator=generator(0, "digits/split"))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    return Dataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        num_classes=10,
        mean=(0.0,),
        std=(16 / 255,),
    )
