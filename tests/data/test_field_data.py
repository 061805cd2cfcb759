"""MNIST's format, CIFAR-100, SVHN, tables and tokens: written here in their layouts, then read."""

import gzip
import pickle

import numpy as np
import pytest
import torch

from fl_platform import data
from fl_platform.core import generator
from fl_platform.data import DataError, Dataset
from fl_platform.data.idx import read_idx


def drawn(*shape, classes=256):
    return torch.randint(classes, shape, generator=generator(0, "test-data")).numpy()


def write_idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    content = head + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    ("name", "folder", "parts", "classes", "first"),
    [
        ("mnist", "MNIST", ("train", "t10k"), 10, 0),
        ("fashion_mnist", "FashionMNIST", ("train", "t10k"), 10, 0),
        ("emnist", "EMNIST", ("emnist-letters-train", "emnist-letters-test"), 26, 1),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_files_in_the_format_of_mnist(tmp_path, name, folder, parts, classes, first, packed):
    images, labels = drawn(20, 28, 28), drawn(20, classes=classes) + first
    for part, cut in zip(parts, (slice(0, 14), slice(14, 20)), strict=True):
        raw = tmp_path / folder / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte{packed}", images[cut])
        write_idx(raw / f"{part}-labels-idx1-ubyte{packed}", labels[cut])
    settings = {"split": "letters"} if name == "emnist" else {}
    found = getattr(data, name)(root=tmp_path, **settings)
    assert (found.name, found.num_classes, found.image_shape) == (name, classes, (1, 28, 28))
    assert found.train_images[:, 0].numpy().tolist() == images[:14].tolist()
    assert found.test_labels.tolist() == (labels[14:] - first).tolist()
    assert len(found.files) == 4


def test_a_missing_or_damaged_idx_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"MNIST/raw .lacks|MNIST/raw .missing"):
        data.mnist(root=tmp_path)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    with pytest.raises(DataError, match="train-images-idx3-ubyte or"):
        data.mnist(root=tmp_path)
    path = tmp_path / "images"
    write_idx(path, drawn(4, 5))
    assert read_idx(path).shape == (4, 5)
    whole = path.read_bytes()
    for content in (b"", whole[:2], whole[:9], whole[:-1], whole + b"1", b"\0\0\x0d" + whole[3:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="images"):
            read_idx(path)
    broken = tmp_path / "images.gz"
    broken.write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(DataError, match=r"images\.gz"):
        read_idx(broken)


def test_cifar100_reads_fine_labels_and_says_that_files_are_others(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    images, labels = drawn(6, 3072).astype(np.uint8), drawn(6, classes=100).tolist()
    for name in ("train", "test"):
        content = {"data": images, "fine_labels": labels, "coarse_labels": [0] * 6}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    found = data.cifar100(root=tmp_path)
    assert found.train_images.shape == (6, 3, 32, 32)
    assert found.test_labels.tolist() == labels
    assert "train, test differ" in found.notes[0]
    (folder / "test").write_bytes(pickle.dumps({"data": images}, protocol=2))
    with pytest.raises(DataError, match="Expected a CIFAR-100 file"):
        data.cifar100(root=tmp_path)


def test_svhn_calls_ten_zero(tmp_path):
    from scipy.io import savemat

    images, labels = drawn(32, 32, 3, 7).astype(np.uint8), np.array([[1, 10, 3, 9, 2, 10, 5]]).T
    for name in ("train_32x32.mat", "test_32x32.mat"):
        savemat(tmp_path / name, {"X": images, "y": labels})
    found = data.svhn(root=tmp_path)
    assert found.train_labels.tolist() == [1, 0, 3, 9, 2, 0, 5]
    assert found.test_images[2].permute(1, 2, 0).numpy().tolist() == images[..., 2].tolist()
    savemat(tmp_path / "test_32x32.mat", {"X": images, "y": labels * 2})
    with pytest.raises(DataError, match="not from 1 to 10"):
        data.svhn(root=tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(b"no mat file")
    with pytest.raises(DataError, match="Expected SVHN"):
        data.svhn(root=tmp_path)


def saved(path, inputs, **more):
    labels = drawn(len(inputs), classes=3)
    labels[0] = 2
    arrays = {"train_inputs": inputs, "train_labels": labels} | more
    arrays |= {"test_inputs": inputs[:5], "test_labels": labels[:5]}
    np.savez(path, **arrays)


def test_a_table_is_standardised_by_its_training_rows(tmp_path):
    rows = drawn(30, 4).astype(np.float64)
    rows[:, 3] = 7
    saved(tmp_path / "tabular.npz", rows, writers=np.arange(30) % 5)
    found = data.tabular(root=tmp_path)
    assert (found.image_shape, found.num_classes) == ((4,), 3)
    torch.testing.assert_close(found.train_images[:, :3].mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.train_images[:, :3].std(0, correction=0), torch.ones(3))
    assert not found.train_images[:, 3].any()
    assert found.test_images.equal(found.train_images[:5])
    assert found.writers is not None
    plain = data.tabular(root=tmp_path, standardise=False)
    assert plain.train_images.double().numpy().tolist() == rows.tolist()
    assert plain.digest != found.digest


def test_tokens_are_whole_numbers(tmp_path):
    saved(tmp_path / "tokens.npz", drawn(30, 6, classes=50))
    found = data.tokens(root=tmp_path)
    assert (found.train_images.dtype, found.image_shape) == (torch.int64, (6,))
    for wrong in (drawn(30, 6) - 300, drawn(30, 6) / 2, drawn(30, 6, 2)):
        saved(tmp_path / "tokens.npz", wrong)
        with pytest.raises(DataError, match=r"whole numbers|tokens of at least 0"):
            data.tokens(root=tmp_path)


def test_tables_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"tabular\.npz"):
        data.tabular(root=tmp_path)
    np.savez(tmp_path / "tabular.npz", train_inputs=np.ones((3, 2)))
    with pytest.raises(DataError, match="train_labels"):
        data.tabular(root=tmp_path)
    rows = np.ones((30, 2))
    rows[3, 1] = np.nan
    saved(tmp_path / "tabular.npz", rows)
    for standardise in (False, True):
        with pytest.raises(DataError, match=r"got nan in row 3, column 1 of train_inputs"):
            data.tabular(root=tmp_path, standardise=standardise)


def test_kinds_of_inputs_do_not_mix():
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(DataError, match="of one kind"):
        Dataset("x", torch.zeros(4, 2), labels, torch.zeros(4, 2).long(), labels, 2, (0.0,), (1.0,))
