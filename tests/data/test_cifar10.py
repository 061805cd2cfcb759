"""Tiny stand-ins cannot be CIFAR-10: the published digests are replaced where a test needs it."""

import hashlib
import io
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_platform.data import DataError, cifar10
from fl_platform.data.cifar10_pickle import read_batch

module = sys.modules["fl_platform.data.cifar10"]  # the package's attribute is the function
NAMES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
NAMES += ["test_batch"]
SIZE = 12  # images a batch, where the published ones have 10,000


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PER_BATCH", SIZE)


def batch(number: int, **changes: object) -> dict[str, object]:
    """What a batch file holds; every image is its batch's number, which keeps the files apart."""
    label = "testing batch 1 of 1" if number == 5 else f"training batch {number + 1} of 5"
    labels = (torch.arange(SIZE) % 10).tolist()
    data = np.full((SIZE, 3072), number, dtype=np.uint8)
    data[:, 1024:2048] += 100  # the green plane, so that a wrong layout shows
    return {"batch_label": label, "labels": labels, "data": data, **changes}


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    return [pickle.dumps(batch(number), protocol=2) for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path, contents: list[bytes]) -> Path:
    target = tmp_path / "cifar10" / "cifar-10-batches-py"
    target.mkdir(parents=True)
    for name, content in zip(NAMES, contents, strict=True):
        (target / name).write_bytes(content)
    return target


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in NAMES)).hexdigest()


def load(folder: Path, **settings: object):
    return cifar10(root=folder.parent.parent, download=False, **settings)


def load_accepted(folder: Path):
    return load(folder, accept_digest=digest(folder))


def publish(monkeypatch: pytest.MonkeyPatch, contents: list[bytes]) -> None:
    """Makes ``contents`` the published files."""
    for name, content in zip(NAMES, contents, strict=True):
        monkeypatch.setitem(module.BATCHES, name, hashlib.md5(content).hexdigest())


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(content: bytes) -> None:
        raise AssertionError("a file was unpickled before its digest was accepted")

    monkeypatch.setattr(module, "read_batch", never)


def test_published_files_load_as_they_are(folder, contents, monkeypatch):
    publish(monkeypatch, contents)
    data = load(folder)
    assert data.notes == ()
    assert data.train_images.shape == (5 * SIZE, 3, 32, 32)
    assert data.test_images.shape == (SIZE, 3, 32, 32)
    assert data.train_images[::SIZE, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert data.train_images[0, :, 5, 7].tolist() == [0, 100, 0]
    assert data.test_images.unique().tolist() == [5, 105]
    assert data.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_other_files_are_refused_unread_and_the_message_says_how_to_allow_them(folder, monkeypatch):
    forbid_reading(monkeypatch)
    with pytest.raises(DataError, match=f"accept_digest={digest(folder)}"):
        load(folder)
    with pytest.raises(DataError, match="got other content in data_batch_1"):
        load(folder, accept_digest="0" * 64)


def test_one_changed_bit_is_refused_unread(folder, contents, monkeypatch):
    publish(monkeypatch, contents)
    forbid_reading(monkeypatch)
    path = folder / "data_batch_4"
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="other content in data_batch_4"):
        load(folder)


def test_an_accepted_digest_is_recorded(folder):
    (note,) = load_accepted(folder).notes
    assert "not the published CIFAR-10" in note
    assert digest(folder) in note


def test_an_accepted_digest_stands_for_all_six_files(folder):
    accepted = digest(folder)
    (folder / "test_batch").write_bytes((folder / "data_batch_1").read_bytes())
    with pytest.raises(DataError, match="other content"):
        load(folder, accept_digest=accepted)


class RunsCommand:
    """An object whose pickle is a call of ``os.system``."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def test_the_canary_works(canary):
    pickle.loads(pickle.dumps(RunsCommand(canary)))
    assert canary.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_batch_that_runs_a_command_is_refused_even_when_accepted(folder, canary, protocol):
    hostile = batch(2, extra=RunsCommand(canary))
    (folder / "data_batch_3").write_bytes(pickle.dumps(hostile, protocol=protocol))
    with pytest.raises(
        DataError, match="data_batch_3, got UnpicklingError: Expected only NumPy arrays"
    ):
        load_accepted(folder)
    assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "os system",
        "posix system",
        "numpy load",
        "numpy.core.multiarray fromstring",
        "numpy core.multiarray._reconstruct",
        "_codecs decode",
        "fl_platform.data.cifar10_pickle pickle.loads",
        "importlib import_module",
    ],
)
def test_no_other_name_is_ever_looked_up(name):
    content = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n."
    with pytest.raises(pickle.UnpicklingError, match="got a call of"):
        read_batch(content)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([RunsCommand(Path("never"))], dtype=object), "got a call of|uint8"),
        (np.zeros(3, dtype=np.float64), "uint8"),
        (np.zeros(3, dtype="M8[s]"), "uint8"),
        (np.zeros(3, dtype=[("a", "u1")]), "uint8|got a call of"),
        ({1, 2}, "got a call of"),
        (Path(), "got a call of"),
    ],
)
def test_only_arrays_of_bytes_and_plain_values_are_read(value, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        read_batch(pickle.dumps({"data": value}, protocol=2))


def test_a_codec_other_than_latin1_is_refused():
    content = pickle.dumps({"x": b"abc"}, protocol=2).replace(b"latin1", b"zlib\x00\x00")
    with pytest.raises(pickle.UnpicklingError, match="latin1"):
        read_batch(content)


def test_arrays_come_back_as_they_were():
    for array in (
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4)),
        np.arange(256, dtype=np.uint8),
    ):
        for protocol in range(5):
            got = read_batch(pickle.dumps({"data": array}, protocol=protocol))["data"]
            np.testing.assert_array_equal(got, array)


def test_a_file_written_by_python_2_is_read():
    """The published files: strings are bytes, and the array's content is one of them."""
    content = (
        b"\x80\x02}(U\x04dataq\x09cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x00\x7f\x80\xfftb"
        b"U\x0bbatch_labelU\x04testu."
    )
    got = read_batch(content)
    assert got["data"].tolist() == [[0, 127], [128, 255]]
    assert got["batch_label"] == "test"


def test_a_few_bytes_cannot_claim_gigabytes():
    """An index of 4 billion in the memo: the unpickler in C would make room for all before it."""
    read_batch(b"\x80\x02}r\xff\xff\xff\xff.")
    with pytest.raises(EOFError):
        read_batch(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [10] + [0] * (SIZE - 1)}, "labels from 0 to 9"),
        ({"labels": [-1] + [0] * (SIZE - 1)}, "labels from 0 to 9"),
        ({"labels": [0] * (SIZE - 1)}, "11 labels, not 12"),
        ({"labels": [0.5] * SIZE}, "whole numbers"),
        ({"labels": "0" * SIZE}, "whole numbers"),
        ({"labels": [2**70] * SIZE}, "[Oo]verflow"),
        ({"data": np.zeros((SIZE - 1, 3072), dtype=np.uint8)}, "not an array of shape"),
        ({"data": np.full((SIZE, 3072), np.nan, dtype=np.float16)}, "uint8"),
        ({"data": [[0]]}, "not an array of shape"),
        ({"batch_label": "testing batch 1 of 1"}, "look swapped"),
    ],
)
def test_accepted_files_must_still_be_batches(folder, changes, message):
    (folder / "data_batch_2").write_bytes(pickle.dumps(batch(1, **changes), protocol=2))
    with pytest.raises(DataError, match=message):
        load_accepted(folder)


@pytest.mark.parametrize("keep", [0, 1, 100, 30_000, -1])
def test_a_truncated_file_is_refused(folder, contents, monkeypatch, keep):
    path = folder / "data_batch_5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"Expected a CIFAR-10 batch in .*data_batch_5"):
        load_accepted(folder)
    publish(monkeypatch, contents)
    with pytest.raises(DataError, match="A cause can be an interrupted download"):
        load(folder)


def test_the_same_batch_twice_is_refused(folder):
    (folder / "test_batch").write_bytes((folder / "data_batch_1").read_bytes())
    with pytest.raises(DataError, match="one of them twice"):
        load_accepted(folder)


def test_a_missing_file_is_named_with_the_places_looked_at(folder, tmp_path):
    (folder / "test_batch").unlink()
    with pytest.raises(DataError) as refusal:
        load(folder)
    message = str(refusal.value)
    assert f"{folder} (lacks test_batch)" in message
    assert f"{tmp_path / 'cifar-10-batches-py'} (missing)" in message
    assert "task.data.download=true" in message
    assert module.URL in message


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / "test_batch").unlink()
    (folder / "test_batch").mkdir()
    with pytest.raises(DataError, match="Expected a file"):
        load(folder)


def test_a_huge_file_is_refused_unread(folder):
    with (folder / "data_batch_1").open("r+b") as file:
        file.truncate(2**40)  # sparse: takes no room
    with pytest.raises(DataError, match="at most"):
        load(folder)


def archive(path: Path, contents: list[bytes], outside: str = "../outside") -> None:
    """The published archive's layout, and a member that would be written elsewhere."""
    with tarfile.open(path, "w") as target:
        members = [(f"cifar-10-batches-py/{n}", c) for n, c in zip(NAMES, contents, strict=True)]
        for name, content in [*members, (outside, b"x")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))


def fake_download(monkeypatch: pytest.MonkeyPatch, make) -> list[str]:
    from torchvision.datasets import utils

    fetched: list[str] = []

    def download_url(url: str, root: str, md5: str) -> None:
        assert md5 == module.ARCHIVE_MD5
        fetched.append(url)
        make(Path(root) / "cifar-10-python.tar.gz")

    monkeypatch.setattr(utils, "download_url", download_url)
    return fetched


def test_absent_files_are_downloaded_once_and_only_the_six_are_taken(
    tmp_path, contents, monkeypatch
):
    def make(path: Path) -> None:
        archive(path, contents)
        monkeypatch.setattr(module, "ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())

    publish(monkeypatch, contents)
    fetched = fake_download(monkeypatch, make)
    first, second = (cifar10(root=tmp_path / "data").digest for _ in range(2))
    assert first == second
    assert fetched == [module.URL]
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert not list(tmp_path.rglob("outside"))


def test_a_wrong_archive_is_never_opened(tmp_path, contents, monkeypatch):
    fake_download(monkeypatch, lambda path: archive(path, contents))
    with pytest.raises(DataError, match="with SHA-256 6d958be0"):
        cifar10(root=tmp_path)
    assert not list(tmp_path.rglob("data_batch_1"))


def test_without_a_network_the_message_says_how_to_get_the_files(tmp_path, monkeypatch):
    def no_network(path: Path) -> None:
        raise OSError("Name or service not known")

    fetched = fake_download(monkeypatch, no_network)
    with pytest.raises(DataError, match=r"Could not download CIFAR-10 to .*not known"):
        cifar10(root=tmp_path)
    assert len(fetched) == 1
    with pytest.raises(DataError, match="Looked for the data in"):
        cifar10(root=tmp_path / "elsewhere", download=False)
    assert len(fetched) == 1
