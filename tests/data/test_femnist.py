import json
from pathlib import Path

import pytest

from fl_platform.data import DataError, by_writer, femnist


def user(labels: list[int], ink: float = 0.0) -> dict[str, list]:
    return {"x": [[ink] + [1.0] * 783 for _ in labels], "y": labels}


def write(path: Path, users: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"users": list(users), "user_data": users}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = tmp_path / "femnist" / "data"
    write(data / "train" / "all_data_0.json", {"f0009": user([1, 2, 61]), "f0001": user([5], 0.2)})
    write(data / "train" / "all_data_1.json", {"f0005": user([0, 0], 128 / 255)})
    write(data / "test" / "all_data_0.json", {"f0009": user([9]), "f0005": user([7])})
    return tmp_path


def train_file(root: Path) -> Path:
    return root / "femnist" / "data" / "train" / "all_data_0.json"


def test_writers_are_in_order_of_their_names_and_test_images_are_pooled(root):
    data = femnist(root=root)
    assert data.num_classes == 62
    assert data.train_labels.tolist() == [5, 0, 0, 1, 2, 61]
    assert data.writers.tolist() == [0, 1, 1, 2, 2, 2]
    assert data.train_images[:, 0, 0, 0].tolist() == [51, 128, 128, 0, 0, 0]
    assert data.train_images[:, 0, 0, 1].tolist() == [255] * 6
    assert data.test_labels.tolist() == [7, 9]
    assert [len(index) for index in by_writer(data.writers).indices] == [1, 2, 3]


def test_the_folder_itself_may_be_named(root):
    assert femnist(root=root / "femnist").digest == femnist(root=root).digest
    assert femnist(root=root / "femnist" / "data").digest == femnist(root=root).digest


def bad_pixel(value: float) -> dict[str, list]:
    content = user([1, 2])
    content["x"][1][5] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (user([62]), "labels from 0 to 61"),
        (user([-1]), "labels from 0 to 61"),
        (bad_pixel(float("nan")), r"pixels must be in \[0, 1\]"),
        (bad_pixel(float("inf")), r"pixels must be in \[0, 1\]"),
        (bad_pixel(-0.1), r"pixels must be in \[0, 1\]"),
        (bad_pixel(200), r"pixels must be in \[0, 1\]"),
        (bad_pixel(10**400), "pixels must be numbers"),
        (bad_pixel("0.5"), "pixels must be numbers"),
        ({"x": [[0.0] * 783], "y": [1]}, "784 pixels"),
        ({"x": [[0.0] * 784, [0.0] * 783], "y": [1, 2]}, "inhomogeneous"),
        ({"x": [], "y": []}, "784 pixels"),
        ({"x": [[0.0] * 784], "y": [1, 2]}, "the numbers of images and labels differ"),
        ({"x": [["a"] * 784], "y": [1]}, "pixels must be numbers"),
        ({"x": [[0.0] * 784], "y": [1.5]}, "whole numbers"),
        ({"x": [[0.0] * 784], "y": [True]}, "whole numbers"),
        ({"x": [[0.0] * 784], "y": [2**70]}, "Overflow"),
        ({"x": [[0.0] * 784]}, "'y'"),
        ([1, 2], "list indices"),
    ],
)
def test_bad_content_is_refused(root, content, message):
    write(train_file(root), {"f0001": content, "f0009": user([1] * 5)})
    with pytest.raises(DataError, match=message):
        femnist(root=root)


@pytest.mark.parametrize(
    "text", ["", "{", '{"users": []}', "[]", '{"user_data": 3}', "\x00", "[" * 200_000]
)
def test_a_file_that_is_not_leafs_is_refused_by_its_name(root, text):
    train_file(root).write_text(text)
    with pytest.raises(DataError, match=r"Expected a LEAF file .*all_data_0\.json"):
        femnist(root=root)


def test_a_truncated_file_is_refused(root):
    path = train_file(root)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="cut short"):
        femnist(root=root)


def test_swapped_folders_are_refused(root):
    data = root / "femnist" / "data"
    write(data / "test" / "all_data_0.json", {"f0001": user([1]), "f0009": user([1] * 6)})
    with pytest.raises(DataError, match="look swapped"):
        femnist(root=root)


def test_a_split_by_user_is_refused(root):
    write(root / "femnist" / "data" / "test" / "all_data_0.json", {"f0002": user([1])})
    with pytest.raises(DataError, match="-t sample is needed, not -t user"):
        femnist(root=root)


def test_a_writer_in_two_files_is_refused(root):
    write(root / "femnist" / "data" / "train" / "all_data_2.json", {"f0009": user([1])})
    with pytest.raises(DataError, match="'f0009' twice"):
        femnist(root=root)


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError) as refusal:
        femnist(root=tmp_path)
    message = str(refusal.value)
    assert f"{tmp_path / 'femnist' / 'data'} (missing)" in message
    assert "./preprocess.sh -s niid" in message
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"Expected LEAF files \*\.json"):
        femnist(root=tmp_path)
