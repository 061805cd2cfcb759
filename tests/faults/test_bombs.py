"""B21: no file of at most 10 MB that is no accepted data set takes more than 1 GB of memory."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.faults.conftest import REPOSITORY

pytestmark = pytest.mark.nightly
MOST = 10 * 10**6
READ = """
import re, sys
from pathlib import Path
path = Path(sys.argv[2])
exec(sys.argv[1].partition(";")[0])
told = lambda: Path("/proc/self/status").read_text()
status = lambda name: int(re.search(name + r":\\s+(\\d+)", told())[1])
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of imports; getrusage keeps it
before = status("VmRSS")
try:
    eval(sys.argv[1].partition(";")[2])
    result = "read"
except Exception as error:
    result = f"{type(error).__name__}: {error}"
print((status("VmHWM") - before) / 1e6, result.splitlines()[0][:300])
"""
READERS = {
    "record": "from fl_platform.tracking.records import read_record, Identity;"
    "read_record(path, Identity)",
    "plan": "from fl_platform.tracking.records import read_record, StoredPlan;"
    "read_record(path, StoredPlan, 'plan')",
    "journal": "from fl_platform.tracking.journal import read;read(path)",
    "cloud": "from fl_platform.tracking.clouds import read_cloud;read_cloud(path)",
    "yaml": "from fl_platform.core.outside import read_yaml;read_yaml(path)",
    "reference": "from fl_platform.repro.reference import read_reference;read_reference(path)",
    "npz": "from fl_platform.data.arrays import arrays;arrays(root=path.parent, file=path.name)",
    "tabular": "from fl_platform.data.tables import tabular;"
    "tabular(root=path.parent, file=path.name)",
    "image": "from fl_platform.data.imagenet12 import _read_image;_read_image(path, 256, 224)",
    "idx": "from fl_platform.data.idx import read_idx;read_idx(path)",
    "checkpoint": "from fl_platform.tracking.checkpoint import CheckpointFile;"
    "CheckpointFile(path).load()",
    "leaf": "from fl_platform.data.femnist import _users;list(_users(path))",
}


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(content)
    return out.getvalue()


def array(*shape: int, kind: str = "<f8", size: int | None = None) -> bytes:
    """A .npy of zeros; ``size`` bytes of content where it lies about its shape."""
    head = io.BytesIO()
    fields = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    claimed = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
    return head.getvalue() + bytes(claimed if size is None else size)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min(height * (3 * width + 1), 2 * 10**8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def many(piece: bytes, around: bytes = b"[]", size: int = MOST - 100) -> bytes:
    return around[:1] + piece * (size // len(piece)) + piece[:-1] + around[1:]


def labels(**arrays: bytes) -> bytes:
    few = array(4, 8, 8, 1, kind="|u1")
    return zipped(**{"train_images": few, "test_images": few, "test_labels": array(4, kind="<i8"),
                     "train_labels": array(4, kind="<i8"), **arrays})  # fmt: skip


LINES = {
    "empty lists": b"[],", "empty objects": b"{},", "objects": b'{"":0},', "numbers": b"1,",
    "texts": b'"a",', "deep": b"[",
}  # fmt: skip
METRICS = b'{"kind":"metrics","step":%d,"time":1,"values":{"a%d":1}}\n'
LABEL = struct.pack("<q", 10**7)
IDX = struct.pack(">IIII", 0x803, 1_500_000, 28, 28)
BOMBS = [
    ("checkpoint", "zeros", bytes(MOST)),
    *[(kind, f"json of {name}", many(piece)) for name, piece in LINES.items()
      for kind in ("record", "plan", "reference", "leaf")],
    ("journal", "short lines", b'{"kind":"x"}\n' * (MOST // 13)),
    ("journal", "a long line", b'{"kind":"x","values":' + many(b'"a":1,', b"{}")),
    ("journal", "metrics", b"".join(
        METRICS % (i, i) for i in range(160_000)
    )),
    ("yaml", "flow lists", many(b"[],", size=64_000)), ("yaml", "large", b"- 1\n" * (MOST // 4)),
    ("cloud", "2 MB that unpack to 11 GB", zipped(gram=array(17_000, 17_000), num_honest=array(),
                                                  skewed=array(0, kind="<i8"))),
    ("cloud", "lies", zipped(gram=array(2**70, size=8))),
    ("npz", "a label of 10**7", labels(train_labels=array(3, kind="<i8") + LABEL)),
    ("npz", "many zeros", labels(train_images=array(1_500_000_000, kind="|u1"))),
    ("npz", "a header of 2**70", labels(train_images=array(2**70, kind="|u1", size=8))),
    ("tabular", "many zeros", zipped(train_features=array(1_500_000_000, kind="|u1"))),
    ("image", "1 x 40,000", png(1, 40_000)), ("image", "30,000 x 30,000", png(30_000, 30_000)),
    ("image", "7,000 x 7,000", png(7_000, 7_000)), ("image", "40,000 x 1", png(40_000, 1)),
    ("idx", "zeros", gzip.compress(IDX + bytes(12 * 10**8))),
    ("idx", "lies", struct.pack(">IIII", 0x803, 2**31, 2**15, 2**15)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "content"), [(k, c) for k, _, c in BOMBS], ids=[f"{k}: {name}" for k, name, _ in BOMBS]
)
def test_a_small_file_takes_at_most_a_gigabyte(tmp_path: Path, kind: str, content: bytes, figure):
    assert len(content) <= 10 * 2**20
    path = tmp_path / {"cloud": "cloud_00001.npz", "image": "a.png", "idx": "a.gz"}.get(
        kind, "file"
    )
    if kind == "idx" and content[:2] != b"\x1f\x8b":
        path = path.with_suffix("")
    path.write_bytes(content)
    line = [sys.executable, "-c", READ, READERS[kind], str(path)]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    gigabytes, _, told = done.stdout.strip().partition(" ")
    figure("B21", f"{kind}: {float(gigabytes):.2f} GB")
    assert float(gigabytes) <= 1.0, told
    assert "MemoryError" not in told
    assert told.startswith(("read", "OutsideError", "RecordError", "DataError", "JournalError",
                            "ConfigError", "CheckpointError", "ValueError")), told  # fmt: skip
