import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_platform.core import outside
from fl_platform.data import DataError, arrays


def content(**changes: object) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    made = {
        "train_images": chance.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": chance.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "test_labels": np.arange(6, dtype=np.uint8)[:, None] % 3,
    }
    return {**made, **changes}


def saved(tmp_path: Path, **changes: object) -> Path:
    kept = {name: value for name, value in content(**changes).items() if value is not None}
    np.savez(tmp_path / "arrays.npz", **kept)
    return tmp_path


def test_images_come_channels_first(tmp_path):
    data = arrays(root=saved(tmp_path))
    assert data.train_images.shape == (12, 3, 5, 4)
    expected = torch.from_numpy(content()["train_images"]).permute(0, 3, 1, 2)
    assert torch.equal(data.train_images, expected)
    assert data.test_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.num_classes == 3


def test_fewer_classes_than_labels_are_refused_by_the_key(tmp_path):
    with pytest.raises(DataError, match=r"^task\.data\.num_classes: expected at least 3, .* got 2"):
        arrays(root=saved(tmp_path), num_classes=2)


def test_images_that_have_channels_first_already(tmp_path):
    swapped = {k: v.transpose(0, 3, 1, 2) for k, v in content().items() if k.endswith("images")}
    first = arrays(root=saved(tmp_path, **swapped), layout="channels_first")
    assert first.digest == arrays(root=saved(tmp_path)).digest


def test_grey_images_have_one_channel(tmp_path):
    grey = {k: v[..., 0] for k, v in content().items() if k.endswith("images")}
    assert arrays(root=saved(tmp_path, **grey)).image_shape == (1, 5, 4)


def test_keras_names_and_an_absolute_file(tmp_path):
    made = content()
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez_compressed(tmp_path / "keras.npz", **dict(zip(names, made.values(), strict=True)))
    data = arrays(root="elsewhere", file=str(tmp_path / "keras.npz"))
    assert data.name == "keras"
    assert data.digest == arrays(root=saved(tmp_path)).digest


def test_floating_point_in_the_unit_interval_becomes_bytes(tmp_path):
    scaled = {k: v / 255 for k, v in content().items() if k.endswith("images")}
    assert arrays(root=saved(tmp_path, **scaled)).digest == arrays(root=saved(tmp_path)).digest


def test_the_normalisation_is_measured_on_the_training_images(tmp_path):
    data = arrays(root=saved(tmp_path))
    pixels = data.train_images.double() / 255
    torch.testing.assert_close(torch.tensor(data.mean), pixels.mean((0, 2, 3)).float())
    expected = pixels.std((0, 2, 3), correction=0).float()
    torch.testing.assert_close(torch.tensor(data.std), expected)
    given = arrays(root=tmp_path, mean=[0.5, 0.5, 0.5], std=[1.0, 1.0, 1.0])
    assert (given.mean, given.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


def test_a_blank_channel_is_not_divided_by_zero(tmp_path):
    images = content()["train_images"]
    images[..., 1] = 7
    assert arrays(root=saved(tmp_path, train_images=images)).std[1] == 1.0


def test_writers_are_read(tmp_path):
    assert arrays(root=saved(tmp_path)).writers is None
    data = arrays(root=saved(tmp_path, writers=np.arange(12) // 4))
    assert data.writers.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def with_one(value: float) -> np.ndarray:
    images = np.zeros((12, 5, 4, 3), dtype=np.float32)
    images[3, 2, 1, 0] = value
    return images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": with_one(np.nan)}, r"pixels in \[0, 1\]"),
        ({"train_images": with_one(np.inf)}, r"pixels in \[0, 1\]"),
        ({"train_images": with_one(-0.01)}, r"pixels in \[0, 1\]"),
        ({"train_images": with_one(255.0)}, "divide by 255 first"),
        ({"train_images": np.zeros((12, 5, 4, 3), dtype=np.int64)}, "uint8 or floating point"),
        ({"train_images": np.zeros((12, 5), dtype=np.uint8)}, "3 or 4 dimensions"),
        ({"train_images": np.zeros((0, 5, 4, 3), dtype=np.uint8)}, "none 0"),
        ({"train_images": np.zeros((12, 5, 9, 3), dtype=np.uint8)}, "shaped like the training"),
        ({"train_labels": np.arange(11)}, "one for each image"),
        ({"train_labels": np.arange(12) % 2}, "labels from 0 to 1"),
        ({"train_labels": np.arange(12) - 1}, "labels from 0"),
        ({"train_labels": np.full(12, 2**64 - 1, dtype=np.uint64)}, r"below 2\*\*63"),
        ({"train_labels": np.zeros(12)}, "whole numbers"),
        ({"train_labels": np.zeros((12, 3), dtype=np.int64)}, "whole numbers"),
        ({"train_labels": None}, r"Expected arrays train_images, train_labels.* got train_images,"),
        ({"writers": np.arange(3)}, "int64 writer for each of 12"),
        ({"train_images": np.array([{}] * 12, dtype=object)}, "allow_pickle"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        arrays(root=saved(tmp_path, **changes))


class RunsCommand:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.canary}",)


def test_a_pickle_in_an_array_is_never_opened(tmp_path):
    canary = tmp_path / "canary"
    saved(tmp_path, train_labels=np.array([RunsCommand(canary)] * 12, dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        arrays(root=tmp_path)
    assert not canary.exists()
    np.load(tmp_path / "arrays.npz", allow_pickle=True)["train_labels"]
    assert canary.exists()  # the file was hostile indeed


@pytest.mark.parametrize("kind", ["pickle", "npy", "text", "empty", "truncated", "flipped"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, kind):
    path = saved(tmp_path) / "arrays.npz"
    whole = path.read_bytes()
    canary = tmp_path / "canary"
    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    path.write_bytes(
        {
            "pickle": pickle.dumps(RunsCommand(canary)),
            "npy": npy.getvalue(),
            "text": b"train_images",
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
            "flipped": whole[:300] + bytes([whole[300] ^ 1]) + whole[301:],
        }[kind]
    )
    with pytest.raises(DataError, match=r"Expected a readable \.npz file at .*arrays\.npz"):
        arrays(root=tmp_path)
    assert not canary.exists()


def test_a_zip_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setitem(outside.LIMITS, "data", 100_000)
    saved(tmp_path)
    assert arrays(root=tmp_path).num_classes == 3  # small enough
    bomb = content(train_images=np.zeros((12, 100, 100, 3), dtype=np.uint8))
    np.savez_compressed(tmp_path / "arrays.npz", **bomb)
    assert (tmp_path / "arrays.npz").stat().st_size < 10_000
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(DataError, match="bytes when unpacked, more than 100000"):
        arrays(root=tmp_path)


def test_an_array_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    header = io.BytesIO()
    shape = (10**7, 1000, 1000, 3)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(saved(tmp_path) / "arrays.npz", "w") as target:
        target.writestr("train_images.npy", header.getvalue() + b"123")
    with pytest.raises(DataError, match=r"Expected a readable \.npz file"):
        arrays(root=tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"at {tmp_path / 'mine.npz'}, got none"):
        arrays(root=tmp_path, file="mine.npz")
