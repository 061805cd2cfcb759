"""Nothing that a file says is clipped, wrapped or read along another axis without a word."""

import numpy as np
import pytest
from PIL import Image

from fl_platform.data import DataError, arrays, imagenet12, tabular
from fl_platform.data.imagenet12 import _eight_bits

GREY = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))


def folder(tmp_path, name: str, image: Image.Image):
    for split in ("train", "val"):
        place = tmp_path / name / split / "c"
        place.mkdir(parents=True)
        image.save(place / "0.png")
    return tmp_path / name


def test_a_png_of_16_bits_is_the_image_of_8_bits(tmp_path):
    eight = imagenet12(root=folder(tmp_path, "eight", Image.fromarray(GREY)), size=32)
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert image.mode == "I;16"
    sixteen = imagenet12(root=folder(tmp_path, "sixteen", image), size=32)
    assert (eight.train_images.float() - sixteen.train_images.float()).abs().max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_each_kind_of_16_bits_keeps_its_order_of_bytes(mode):
    deep = GREY.astype(np.int64) * 257
    kinds = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}
    image = Image.frombytes(mode, (64, 64), deep.astype(kinds[mode]).tobytes())
    assert np.array_equal(np.asarray(_eight_bits(image)), GREY)


def test_a_png_of_16_bits_that_holds_8_is_refused(tmp_path):
    root = folder(tmp_path, "low", Image.fromarray(GREY.astype(np.uint16)))
    with pytest.raises(DataError, match=r"0\.png, got: an image of 16 bits .*save it with 8 bits"):
        imagenet12(root=root, size=32)


def save(tmp_path, **changes):
    content = {
        "train_images": np.zeros((6, 32, 32, 3), np.uint8),
        "train_labels": np.arange(6) % 2,
        "test_images": np.zeros((2, 32, 32, 3), np.uint8),
        "test_labels": np.arange(2),
    }
    np.savez(tmp_path / "arrays.npz", **(content | changes))
    return {"root": tmp_path}


def test_images_are_not_read_along_another_axis(tmp_path):
    first = {f"{part}_images": np.zeros((6, 3, 32, 32), np.uint8) for part in ("train", "test")}
    where = save(tmp_path, **first, test_labels=np.arange(6) % 2)
    with pytest.raises(DataError, match=r"got shape .*use task\.data\.layout=channels_first"):
        arrays(**where)
    assert arrays(**where, layout="channels_first").image_shape == (3, 32, 32)
    where = save(tmp_path)
    with pytest.raises(DataError, match=r"use task\.data\.layout=channels_last"):
        arrays(**where, layout="channels_first")
    assert arrays(**where).image_shape == (3, 32, 32)


@pytest.mark.parametrize(
    "labels",
    [
        np.full(6, 2**63, np.uint64),
        np.zeros(6, bool),
        np.zeros(6),
        np.zeros(6, complex),
        np.array(["0"] * 6),
        np.zeros((6, 2), int),
        np.zeros(6, "datetime64[s]"),
        np.zeros(6, "timedelta64[s]"),
    ],
    ids=lambda labels: f"{labels.dtype}",
)
def test_labels_of_other_types_are_refused(tmp_path, labels):
    for name in ("train_labels", "writers"):
        with pytest.raises(DataError, match=r"arrays\.npz.*[Ee]xpected"):
            arrays(**save(tmp_path, **{name: labels}))


def test_tables_of_complex_numbers_are_refused(tmp_path):
    rows = np.ones((4, 3)) * (1 + 2j)
    labels = np.arange(4) % 2
    np.savez(
        tmp_path / "tabular.npz",
        train_inputs=rows, train_labels=labels, test_inputs=rows, test_labels=labels,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"real inputs.*complex128"):
        tabular(root=tmp_path)
