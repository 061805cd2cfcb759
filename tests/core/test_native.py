"""Kernels are an option: built once, found again, and missed without harm."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_platform.core import Updates, generator
from fl_platform.core.native import compiler as native
from fl_platform.core.native import cuda, kernels, own_files

SOURCE = 'extern "C" int answer() { return %d; }'
needs_compiler = pytest.mark.skipif(not native.enabled(), reason="no C++ compiler here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FL_PLATFORM_NATIVE_CACHE", str(tmp_path))
    native._load.cache_clear()
    yield tmp_path
    native._load.cache_clear()


@needs_compiler
def test_a_source_is_built_once_and_then_found(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert native.library(SOURCE % 41, native.FUSED, build=False) is None
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    assert len(list(cache.iterdir())) == 1  # nothing half-built is left beside it
    native._load.cache_clear()

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(native, "_compile", refuse)
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    with pytest.raises(AssertionError, match="again"):
        native.library(SOURCE % 42, native.FUSED)  # control: another source is another library


@needs_compiler
@pytest.mark.usefixtures("cache")
def test_a_source_that_does_not_compile_means_torch() -> None:
    assert native.library("no C++ at all", native.FUSED) is None


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("reason", ["switched off", "no compiler"])
def test_everything_works_without_kernels(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason == "switched off":
        monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")
    else:
        monkeypatch.setattr(native, "_compiler", lambda: None)
    assert not native.enabled()
    matrix = torch.randn(6, 50, generator=generator(0, "n"))
    assert kernels.products(list(matrix), matrix[0]) is None
    updates = Updates(matrix)
    assert torch.equal(updates.median("lower"), matrix.median(0).values)
    wide = matrix.double()
    exact = (wide[:, None] - wide[None]).square().sum(2)
    torch.testing.assert_close(updates.squared_distances(), exact, rtol=1e-5, atol=0)
    centred = wide - updates.centre().double()
    torch.testing.assert_close(updates.project(matrix[0]), centred @ wide[0], rtol=1e-4, atol=1e-4)


def _forgotten() -> None:
    native._load.cache_clear()


@needs_compiler
@pytest.mark.parametrize("content", [b"", b"garbage", "truncated", "another library"])
def test_a_library_that_this_user_did_not_build_is_built_again(
    cache: Path, content: bytes | str
) -> None:
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    (built,) = cache.iterdir()
    whole = built.read_bytes()
    if content == "another library":
        native.library(SOURCE % 66, native.FUSED)
        other = next(path for path in cache.iterdir() if path != built)
        content = other.read_bytes().rpartition(own_files.SEAL)[0]
    elif content == "truncated":
        content = whole[: len(whole) // 2]
    built.unlink()  # the one in memory stays whole
    built.write_bytes(content)
    _forgotten()
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    assert built.read_bytes() == whole


@needs_compiler
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_library_that_others_may_write_to_is_built_again(cache: Path, mode: int) -> None:
    native.library(SOURCE % 41, native.FUSED)
    (built,) = cache.iterdir()
    planted = built.stat().st_ino
    built.chmod(mode)
    _forgotten()
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    assert built.stat().st_ino != planted
    cache.chmod(mode)
    _forgotten()
    assert native.library(SOURCE % 41, native.FUSED) is None  # torch is used


@needs_compiler
def test_a_library_behind_a_link_is_built_again(cache: Path, tmp_path_factory: Any) -> None:
    native.library(SOURCE % 41, native.FUSED)
    (built,) = cache.iterdir()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "planted.so"
    built.rename(elsewhere)
    built.symlink_to(elsewhere)
    _forgotten()
    assert native.library(SOURCE % 41, native.FUSED).answer() == 41
    assert not built.is_symlink()


class Nvrtc:
    def nvrtcVersion(self) -> tuple[int, int, int]:  # noqa: N802 - the library's own name
        return 0, 12, 0


def planted(cache: Path, built: Path, how: str, elsewhere: Path) -> None:
    """Put at ``built`` what somebody else may have put there."""
    if how == "a link":
        built.rename(elsewhere)
        built.symlink_to(elsewhere)
    elif how == "writable by others":
        built.chmod(0o722)
    elif how == "of another user":
        os.chown(built, 65534, 65534)
    else:
        content = built.read_bytes()
        built.write_bytes({"empty": b"", "garbage": b"cubin", "cut": content[:-1]}[how])


@pytest.mark.parametrize(
    "how", ["empty", "garbage", "cut", "a link", "writable by others", "of another user"]
)
def test_machine_code_that_this_user_did_not_build_is_built_again(
    cache: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "of another user" and os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    builds: list[str] = []
    monkeypatch.setattr(cuda, "_bindings", lambda name: Nvrtc())
    monkeypatch.setattr(cuda, "_compile", lambda *_: builds.append("") or b"code")
    for _ in range(2):
        assert cuda.machine_code("source", cuda.FUSED, "sm_90") == b"code"
    assert len(builds) == 1
    (built,) = cache.iterdir()
    planted(cache, built, how, tmp_path_factory.mktemp("elsewhere") / "planted")
    for _ in range(2):
        assert cuda.machine_code("source", cuda.FUSED, "sm_90") == b"code"
    assert len(builds) == 2
    cache.chmod(0o777)
    with pytest.raises(OSError, match="no other may write to"):
        cuda.machine_code("source", cuda.FUSED, "sm_90")


@pytest.mark.usefixtures("cache")
def test_without_a_home_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FL_PLATFORM_NATIVE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert native.library(SOURCE % 41, native.FUSED) is None
    assert not kernels.decide_bits(torch.float32)
