import torch
from sklearn.datasets import load_digits

from fl_platform.data import digits
from fl_platform.federated import Samples


def test_digits_are_the_source_split_once():
    data = digits()
    assert data.train_images.shape == (1437, 1, 8, 8)
    assert data.test_images.shape == (360, 1, 8, 8)
    got = torch.cat([data.train_images, data.test_images]).flatten(1).tolist()
    labels = torch.cat([data.train_labels, data.test_labels]).tolist()
    source = load_digits()
    expected = zip(source.data.astype(int).tolist(), source.target.tolist(), strict=True)
    assert sorted(zip(got, labels, strict=True)) == sorted(expected)


def test_digits_normalise_to_sixteenths():
    data = digits()
    expected = data.train_images.float() / 16
    read, _ = Samples(data.train_images, data.train_labels, data.mean, data.std).read(slice(None))
    torch.testing.assert_close(read, expected)


def test_digits_are_the_same_bytes_every_time():
    assert digits().digest == digits().digest
    # Changing the split or the source changes every published number, so it is pinned.
    assert digits().digest == "0727e805967916c6812cda76ad678415d2cefbd977670f4a34bb5b885d6b3cea"


def test_every_class_is_in_both_splits():
    data = digits()
    assert data.train_labels.bincount().min() > 100
    assert data.test_labels.bincount().min() > 20
