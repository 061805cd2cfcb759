import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fl_platform.data import DataError, imagenet12


def save(path: Path, width: int = 20, height: int = 16, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(len(path.name))
    pixels = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    Image.fromarray(pixels).convert(mode).save(path, kind)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "imagenet12"
    for name, images in {"n02": 3, "n01": 2}.items():
        for number in range(images):
            save(folder / "train" / name / f"{number}.JPEG", width=20 + number)
        save(folder / "val" / name / "0.png")
    return tmp_path


def load(root: Path, **settings: int):
    return imagenet12(root=root, **{"size": 8, "resize": 8, **settings})


def test_classes_are_folders_in_order_of_their_names(root):
    data = load(root)
    assert data.train_images.shape == (5, 3, 8, 8)
    assert data.train_labels.tolist() == [0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 1]
    assert "a substitute for the paper's unpublished list: n01 n02" in data.notes[0]
    assert load(root / "imagenet12").digest == data.digest


@pytest.mark.parametrize(("width", "height"), [(20, 16), (16, 21), (16, 16), (33, 17), (9, 40)])
@pytest.mark.parametrize(("size", "resize"), [(8, None), (7, None), (9, 9), (5, 16), (16, 16)])
def test_images_are_those_of_torchvision(root, width, height, size, resize):
    from torchvision import transforms

    path = root / "imagenet12" / "val" / "n01" / "0.png"
    save(path, width, height)
    side = round(size * 256 / 224) if resize is None else resize
    reference = transforms.Compose(
        [transforms.Resize(side), transforms.CenterCrop(size), transforms.PILToTensor()]
    )(Image.open(path).convert("RGB"))
    got = imagenet12(root=root, size=size, resize=resize).test_images[0]
    assert torch.equal(got, reference)


def test_an_image_of_the_asked_size_is_kept_byte_for_byte(root):
    path = root / "imagenet12" / "val" / "n01" / "0.png"
    save(path, 8, 8)
    expected = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    assert torch.equal(load(root).test_images[0], expected)


@pytest.mark.parametrize("mode", ["L", "CMYK", "1"])
def test_other_colours_become_rgb(root, mode):
    save(root / "imagenet12" / "train" / "n01" / "0.JPEG", mode=mode if mode != "1" else "L")
    assert load(root).train_images.shape == (5, 3, 8, 8)


def image(root: Path) -> Path:
    return root / "imagenet12" / "train" / "n02" / "1.JPEG"


def refused(root: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(root)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_image_is_refused_by_its_name(root, share):
    content = image(root).read_bytes()
    image(root).write_bytes(content[: int(share * len(content))])
    refused(root, r"Expected a JPEG or PNG image at .*n02/1\.JPEG")


@pytest.mark.parametrize("content", [b"hello", b"\x80\x02cos\nsystem\n.", b"GIF89a", b"%!PS\n"])
def test_what_is_no_image_is_refused(root, content):
    image(root).write_bytes(content)
    refused(root, r"Expected a JPEG or PNG image at .*n02/1\.JPEG")


def test_formats_with_interpreters_behind_them_are_not_tried(root):
    Image.new("RGB", (8, 8)).save(image(root), "EPS")
    refused(root, "cannot identify")


@pytest.mark.parametrize("side", [8_000, 60_000])
def test_an_image_that_unpacks_to_gigabytes_is_refused_unread(root, side):
    """A PNG of 60 bytes whose header claims ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    image(root).write_bytes(bomb)
    refused(root, "too many|decompression bomb")


def test_a_pipe_is_refused_instead_of_waited_for(root):
    image(root).unlink()
    os.mkfifo(image(root))
    refused(root, "not a file")


def test_a_link_to_nowhere_is_refused(root):
    image(root).unlink()
    image(root).symlink_to("/nonexistent/image.JPEG")
    refused(root, "not a file")


def test_classes_must_be_the_same_in_both_splits(root):
    save(root / "imagenet12" / "val" / "n03" / "0.JPEG")
    refused(root, "not in both: n03")


def test_an_empty_class_is_refused(root):
    (root / "imagenet12" / "train" / "n00").mkdir()
    refused(root, "none in n00")


def test_swapped_folders_are_refused(root):
    folder = root / "imagenet12"
    (folder / "train").rename(folder / "other")
    (folder / "val").rename(folder / "train")
    (folder / "other").rename(folder / "val")
    refused(root, "look swapped")


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError) as refusal:
        load(tmp_path)
    message = str(refusal.value)
    assert f"{tmp_path / 'imagenet12'} (missing)" in message
    assert "Create train/CLASS" in message


def test_a_resize_that_leaves_too_little_to_cut_is_refused(root):
    with pytest.raises(ValueError, match=r"resize: expected at least task\.data\.size=8"):
        load(root, resize=7)
