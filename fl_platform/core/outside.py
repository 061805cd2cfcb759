"""The reader of all external files: sizes, links, encodings, JSON, YAML and array headers.

A wrong file is refused with one line that names it; its stated size is checked before memory is
allocated.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

KIB, MIB, GIB = 2**10, 2**20, 2**30
# The maximum size of a file of each kind, in bytes.
LIMITS = {
    "lock": 4 * KIB,
    "record": MIB,  # run.json, result.json, forwarded.json, digests of data
    "plan": 64 * MIB,  # plan.json of a grid
    "journal": GIB,
    "line": 4 * MIB,  # one line of a journal
    "yaml": 64 * KIB,  # the longest of this project has 5,000
    "reference": 16 * MIB,
    "log": 64 * MIB,  # the reference of a suite
    "cloud": 64 * MIB,  # unpacked; 2,800 rows
    "data": 16 * GIB,  # unpacked; data are held in memory
}
RATIO = 100  # maximum ratio of unpacked to packed size beyond 1 GiB
DEPTH = 32  # maximum nesting of lists and mappings in YAML
DIGITS = 32  # maximum digits of a whole number
PIXELS = 50_000_000  # of an image, before and after resizing; ImageNet: 19 million at most
CLASSES = 65_536


class OutsideError(ValueError):
    """A wrong external file; the message names it, the expectation and what was found."""


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """A descriptor of the regular file at ``path``; a link is refused, never followed.

    Raises:
        OutsideError: a link, a folder, a pipe or a device.
        OSError: an error of the system, such as a missing file.
    """
    try:
        # O_NONBLOCK: opening a pipe without a writer waits forever
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise OutsideError(f"{path}: expected a regular file, got {_kind(path)}.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutsideError(f"{path}: expected a regular file, got {_kind(path)}.")
    return descriptor


def read_file(path: Path, kind: str, *, follow: bool = False) -> bytes:
    """All bytes of ``path``.

    Args:
        kind: a key of `LIMITS`.
        follow: accept a link; only for files written by a person.

    Raises:
        OutsideError: not a regular file, or too large.
        OSError: it cannot be read.
    """
    descriptor = open_file(path.resolve(strict=True) if follow else path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(descriptor).st_size
        if size > LIMITS[kind]:
            raise OutsideError(f"{path}: expected at most {LIMITS[kind]} bytes, got {size}.")
        return stream.read(LIMITS[kind] + 1)


def parse_json(text: bytes, where: object, *, exact: bool = True) -> Any:
    """The value of the JSON ``text``.

    Args:
        where: the file, for the message.
        exact: also refuse NaN, infinities and very long integers; without it, a large file of
            numbers is read three times as fast.

    Raises:
        OutsideError: not UTF-8, not JSON, too deeply nested, or a key twice in one object.
    """
    exactly = {"parse_constant": _constant, "parse_float": _finite, "parse_int": _whole}
    numbers: dict[str, Any] = exactly if exact else {}
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_once, **numbers)
    except (ValueError, RecursionError) as error:
        raise OutsideError(f"{where}: expected JSON, got: {_first(error)}") from None


def read_json(path: Path, kind: str) -> Any:
    """The value in the JSON file ``path``; raises as `read_file` and `parse_json`."""
    return parse_json(read_file(path, kind), path)


def read_yaml(path: Path) -> Any:
    """The value in the YAML file ``path``, by stricter rules than YAML's own.

    No key twice, no anchor or alias, no number with a leading zero, in base 60 or of more than 32
    digits, no tag; a date stays a text.

    Raises:
        OutsideError: a violation of one of these rules, with the line; or as `read_file`.
    """
    return parse_yaml(read_file(path, "yaml", follow=True), path)


def parse_yaml(text: bytes, where: object) -> Any:
    """The value of the YAML ``text``; see `read_yaml`."""
    import yaml

    try:
        return _loader()(text.decode("utf-8")).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise OutsideError(f"{where}: {line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OutsideError(f"{where}: expected YAML, got: {_first(error)}") from None


def array_headers(path: Path, kind: str) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of each array in the .npz file ``path``, from headers alone.

    Raises:
        OutsideError: not an archive of arrays, or too large when unpacked.
        OSError: it cannot be read.
    """
    from numpy.lib import format as npy

    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _refuse_bomb(path, kind, sum(member.file_size for member in members))
            for member in members:
                with archive.open(member) as stream:
                    version = npy.read_magic(stream)
                    read = npy.read_array_header_1_0 if version == (1, 0) else None
                    read = npy.read_array_header_2_0 if version == (2, 0) else read
                    if read is None:
                        raise ValueError(f"an array of format {version}")
                    shape, _, dtype = read(stream)
                    if dtype.hasobject:
                        raise ValueError("pickled content, which allow_pickle=False refuses")
                    if math.prod(shape) * dtype.itemsize > member.file_size:
                        raise ValueError(f"{member.filename} of shape {shape} in fewer bytes")
                headers[member.filename.removesuffix(".npy")] = (shape, dtype)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError) as error:
        if isinstance(error, OutsideError):
            raise
        told = f"Expected a readable .npz file at {path}, got: {error}"
        raise OutsideError(told) from None
    return headers


def _refuse_bomb(path: Path, kind: str, claimed: int) -> None:
    packed = path.stat().st_size
    most = LIMITS[kind] if claimed <= GIB else min(LIMITS[kind], max(GIB, RATIO * packed))
    if claimed > most:
        raise OutsideError(
            f"Expected a readable .npz file at {path}, got: {claimed} bytes when unpacked, more"
            f" than {most}; beyond 1 GiB the limit is {RATIO} times the size of the archive."
        )


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    return "a folder" if path.is_dir() else "a pipe or device"


def _first(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "too deep nesting"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} twice in one object")
    return found


def _constant(text: str) -> float:
    raise ValueError(f"{text}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]}, beyond the range of float64")
    return value


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


# YAML 1.1 reads 010 as eight and 1:30 as ninety.
_MISREAD = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_BUILT: list[Any] = []


def _loader() -> Any:
    """A loader of plain values, built once; yaml is imported when the first file is read."""
    import yaml

    if _BUILT:
        return _BUILT[0]

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                raise _fault("expected values written out, got an anchor or alias", event)
            if event.tag is not None:
                raise _fault(f"expected plain values, got the tag {event.tag[:40]}", event)
            self.depth += 1
            if self.depth > DEPTH:
                raise _fault(f"expected at most {DEPTH} levels of nesting, got more", event)
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            found: Mapping[Any, Any] = super().construct_mapping(node, deep=True)
            if len(found) != len(node.value):
                keys: set[Any] = set()
                for name, _ in node.value:
                    key = self.construct_object(name, deep=True)
                    if key in keys:
                        raise _fault(f"found duplicate key {key!r}", name)
                    keys.add(key)
                raise _fault("expected keys written out, got a merge", node)
            return found

        def plain_number(self, node: Any) -> Any:
            if _MISREAD.fullmatch(node.value):
                told = "a number without leading zero or colon, or quotes around it"
                raise _fault(f"expected {told}, got {node.value[:40]}", node)
            if len(node.value) > DIGITS:
                raise _fault(f"expected at most {DIGITS} digits, got {len(node.value)}", node)
            kind = node.tag.rpartition(":")[2]
            return getattr(yaml.SafeLoader, f"construct_yaml_{kind}")(self, node)

    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if not pair[0].endswith((":timestamp", ":value"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.plain_number)
    _BUILT.append(Loader)
    return Loader


def _fault(problem: str, at: Any) -> Any:
    import yaml

    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)
