"""One reader of what comes from outside: refused in one line that names the file."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fl_platform.config import ConfigError
from fl_platform.core import outside
from fl_platform.core.outside import OutsideError, array_headers, parse_json, parse_yaml, read_file
from fl_platform.study.spec import load_spec
from fl_platform.tracking.clouds import read_cloud

PACKAGE = Path(outside.__file__).parents[1]
REPOSITORY = PACKAGE.parent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seeds: [0, 1]\nseeds: [7, 8]", "line 2: found duplicate key 'seeds'"),
        ("a: {b: 1, b: 2}", "duplicate key 'b'"),
        ("trials: 010", "number without leading zero"),
        ("seeds: [0, -011]", "number without leading zero"),
        ("at: 1:30", "leading zero or colon"),
        ("a: " + "9" * 5000, "at most 32 digits, got 5000"),
        ("a: &x [1]\nb: *x", "anchor or alias"),
        ("a: !!python/object:os.system x", "got the tag"),
        ("[" * 50, "levels of nesting"),
        ("[" * 60_000, "levels of nesting"),
        ("a: [1", "line 1"),
        ("a: \x00", "expected YAML"),
        ("? [1]\n: 2", "unhashable"),
    ],
)
def test_yaml_that_would_be_misread_is_refused_with_its_line(text, told):
    with pytest.raises(OutsideError, match=told) as refusal:
        parse_yaml(text.encode(), "suite.yaml")
    assert str(refusal.value).startswith("suite.yaml: ")
    assert "\n" not in str(refusal.value)


def test_yaml_that_is_no_utf8_is_refused_and_a_date_stays_a_text():
    with pytest.raises(OutsideError, match="utf-8"):
        parse_yaml("caf\xe9: 1".encode("latin-1"), "f")
    assert parse_yaml(b"a: 2001-99-99\nb: [1, 2.5, true, null, x]", "f") == {
        "a": "2001-99-99",
        "b": [1, 2.5, True, None, "x"],
    }


def test_every_file_of_ours_reads_as_plain_yaml_reads_it():
    import yaml

    for path in [*REPOSITORY.glob("conf/**/*.yaml"), *REPOSITORY.glob("tuning/*.yaml")]:
        assert outside.read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "content", [b"trials: 1\ntrials: 2", b"\xff", b"a: 010", b"[" * 60_000, b"x" * 70_000]
)
def test_a_tuning_file_of_a_stranger_is_one_line(tmp_path, content):
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as refusal:
        load_spec("mine", tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [b'{"a": 1, "a": 2}', b"NaN", b"1e999", b"9" * 100, b"[" * 100_000, b"\xff", b"{", b""],
)
def test_json_that_is_none_is_refused(text):
    with pytest.raises(OutsideError, match=r"^run\.json: expected JSON, got: ") as refusal:
        parse_json(text, "run.json")
    assert "\n" not in str(refusal.value)


def test_links_pipes_folders_and_large_files_are_refused_unread(tmp_path):
    real = tmp_path / "real"
    real.write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to(real)
    os.mkfifo(tmp_path / "pipe")
    for name, told in {"link": "a link", "pipe": "a pipe", ".": "a folder"}.items():
        with pytest.raises(OutsideError, match=told):
            read_file(tmp_path / name, "record")
    with pytest.raises(OutsideError, match="at most 4096 bytes, got 5000"):
        read_file(real, "lock")
    assert read_file(tmp_path / "link", "record", follow=True) == b"x" * 5000


def npz(path: Path, shape: tuple[int, ...], content: bytes, descr: str = "<f8") -> Path:
    header = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gram.npy", header.getvalue() + content)
    return path


@pytest.mark.parametrize("shape", [(2**70,), (10**7, 10**7), (2**62, 8)])
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path, shape):
    with pytest.raises(OutsideError, match="in fewer bytes"):
        array_headers(npz(tmp_path / "a.npz", shape, b"123"), "data")


def test_a_cloud_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    side = 3000
    bomb = npz(tmp_path / "cloud_00001.npz", (side, side), bytes(8 * side * side))
    assert bomb.stat().st_size < 2**18
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(OutsideError, match=r"cloud_00001\.npz.* more than 67108864"):
        read_cloud(bomb)


def test_limits_hold_what_we_write():
    assert outside.LIMITS["yaml"] > max(p.stat().st_size for p in REPOSITORY.glob("conf/**/*.yaml"))
    for path in REPOSITORY.glob("conf/suite/**/*.json"):
        assert json.loads(read_file(path, "reference"))
