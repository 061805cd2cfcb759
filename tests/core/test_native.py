"""Kernels are an option: built once, found again, and missed without harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fl_platform.core import Updates, generator
from fl_platform.core.native import compiler as native
from fl_platform.core.native import kernels

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
