"""Median, trimmed mean and deviation against their definitions, in torch and compiled."""

from collections.abc import Callable

import pytest
import torch

from fl_platform.core import Updates, coordinatewise, generator
from fl_platform.core.native import compiler as native
from fl_platform.core.native import kernels

needs_compiler = pytest.mark.skipif(not native.enabled(), reason="no C++ compiler here")


@pytest.fixture
def torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any size is worth a build, and a fall back to torch fails the test."""
    monkeypatch.setattr(kernels, "WORTH_BUILDING", 0)

    def refuse(*_: object) -> None:
        raise AssertionError("the torch form was used")

    monkeypatch.setattr(coordinatewise, "_ordered", refuse)
    monkeypatch.setattr(coordinatewise, "_sum", refuse)


def values(m: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Normal entries of many sizes, with ties, zeros of both signs and infinities."""
    draws = generator(seed, "values")
    matrix = torch.randn(m, d, generator=draws, dtype=dtype)
    matrix *= 10.0 ** torch.randint(-30, 30, (m, d), generator=draws)
    matrix[:, 0::7] = matrix[:, 0::7].sign()
    matrix[:, 3::7] = torch.where(matrix[:, 3::7] > 0, 0.0, -0.0)
    matrix[: m // 3, 5::7] = torch.inf
    return matrix


def bits(vector: torch.Tensor) -> torch.Tensor:
    return vector.view(torch.int32 if vector.dtype == torch.float32 else torch.int64)


def by_sorting(matrix: torch.Tensor, first: int, stop: int) -> torch.Tensor:
    ordered = matrix.sort(0).values
    total = ordered[first].clone()
    for rank in range(first + 1, stop):
        total = total + ordered[rank]
    return total / (stop - first) + 0.0


@pytest.mark.usefixtures("torch_only")
@pytest.mark.parametrize("n", range(1, 65))
def test_every_number_of_rows_gives_the_bits_of_a_sort(n: int) -> None:
    matrix = values(n, 41, seed=n)
    updates = Updates(matrix)
    lower = coordinatewise.median(updates, "lower")
    assert torch.equal(lower, matrix.median(0).values)  # torch's median is the lower one
    assert torch.equal(bits(lower), bits(lower + 0.0))  # no negative zero
    upper = coordinatewise.median(updates, "upper")
    assert torch.equal(upper, -(-matrix).median(0).values)
    middle = by_sorting(matrix, (n - 1) // 2, n // 2 + 1)
    assert torch.equal(bits(coordinatewise.median(updates)), bits(middle))
    for trim in {0, (n - 1) // 4, (n - 1) // 2}:
        trimmed = coordinatewise.trimmed_mean(updates, trim)
        assert torch.equal(bits(trimmed), bits(by_sorting(matrix, trim, n - trim)))


def test_control_the_bit_check_notices_another_order_of_addition() -> None:
    matrix = torch.randn(30, 41, generator=generator(0, "order"))
    ordered = matrix.sort(0, descending=True).values
    backwards = ordered[5].clone()
    for rank in range(6, 25):
        backwards = backwards + ordered[rank]
    assert not torch.equal(bits(backwards / 20), bits(by_sorting(matrix, 5, 25)))


@needs_compiler
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "trim", "d"), [(1, 0, 5), (2, 0, 16), (11, 3, 1), (20, 4, 163)])
def test_compiled_ranks_have_the_same_bits(m: int, trim: int, d: int, dtype: torch.dtype) -> None:
    matrix = values(m, d, dtype)
    updates = Updates(matrix)
    middle = by_sorting(matrix, (m - 1) // 2, m // 2 + 1)
    assert torch.equal(bits(coordinatewise.median(updates)), bits(middle))
    trimmed = by_sorting(matrix, trim, m - trim)
    assert torch.equal(bits(coordinatewise.trimmed_mean(updates, trim)), bits(trimmed))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (3, 64), (50, 331)])
def test_compiled_deviations_have_the_bits_of_torch(
    m: int, d: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = torch.randn(m, d, generator=generator(0, "d"), dtype=dtype)
    compiled = coordinatewise.deviation(Updates(matrix))
    monkeypatch.setattr(kernels, "variances", lambda *_: False)
    plain = coordinatewise.deviation(Updates(matrix))
    assert torch.equal(bits(compiled), bits(plain))
    torch.testing.assert_close(plain, matrix.std(0, correction=0), rtol=1e-5, atol=1e-6)


@needs_compiler
def test_compiled_products_agree_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, m, d in [(torch.float32, 13, 9001), (torch.float64, 4, 33), (torch.float32, 1, 1)]:
        matrix = torch.randn(m, d, generator=generator(m, "p"), dtype=dtype) + 10
        left, direction = matrix[:2] * 2, matrix[0] - 10
        found = kernels.products(list(matrix), matrix[0], left)
        assert found is not None
        centred = (matrix - matrix[0]).double()
        close = {"rtol": 1e-5, "atol": 1e-3}
        torch.testing.assert_close(found, (left - matrix[0]).double() @ centred.T, **close)
        along = kernels.offsets(list(matrix), matrix[0], direction)
        torch.testing.assert_close(along, centred @ direction.double(), **close)
        fast = Updates(matrix).gram()
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "products", lambda *_, **__: None)
            torch.testing.assert_close(fast, Updates(matrix).gram(), **close)
        assert torch.equal(fast, fast.T)


@pytest.mark.parametrize("way", ["torch", "compiled"])
@pytest.mark.parametrize(
    "view",
    [
        lambda rows: rows.select(torch.tensor([4, 0, 2, 2])),
        lambda rows: rows.extended(torch.ones(1, 90).expand(3, 90)),
        lambda rows: rows.mixed(torch.eye(5, dtype=torch.float64)[[3, 1, 0]]),
    ],
    ids=["selected", "extended", "mixed"],
)
def test_views_give_the_bits_of_the_matrix_written_out(
    view: Callable[[Updates], Updates], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0" if way == "torch" else "1")
    monkeypatch.setattr(kernels, "WORTH_BUILDING", 0)
    matrix = torch.randn(5, 90, generator=generator(0, "v"))
    seen = view(Updates(matrix))
    written = Updates(seen.matrix.clone())
    assert torch.equal(bits(seen.median()), bits(written.median()))
    assert torch.equal(bits(seen.std()), bits(written.std()))
    trimmed = coordinatewise.trimmed_mean(seen, 1)
    assert torch.equal(bits(trimmed), bits(coordinatewise.trimmed_mean(written, 1)))


@needs_compiler
@pytest.mark.parametrize("entries", [1, 0], ids=["a build pays", "no build pays"])
def test_the_size_of_the_whole_matrix_decides_whether_mixed_rows_are_worth_a_build(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def library(*_: object, build: bool) -> None:
        asked.append(build)

    width = 2 * coordinatewise.CHUNK + 5
    monkeypatch.setattr(kernels, "WORTH_BUILDING", 3 * width + 1 - entries)
    monkeypatch.setattr(native, "library", library)
    rows = Updates(torch.randn(3, width)).mixed(torch.eye(3, dtype=torch.float64))
    coordinatewise.median(rows)
    coordinatewise.mean_nearest(rows, 2, "lower")
    assert len(asked) == 3 + -(-width // 2048)
    assert set(asked) == {bool(entries)}


def test_many_rows_are_sorted_instead() -> None:
    matrix = values(kernels.MOST_WIRES + 3, 20)
    m = len(matrix)
    plain = by_sorting(matrix, (m - 1) // 2, m // 2 + 1)
    assert torch.equal(bits(coordinatewise.median(Updates(matrix))), bits(plain))


def test_rows_are_left_as_they_were() -> None:
    matrix = values(9, 40)
    before = matrix.clone()
    Updates(matrix).median()
    coordinatewise.trimmed_mean(Updates(matrix), 2)
    assert torch.equal(bits(matrix), bits(before))


def test_what_leaves_no_value_or_names_no_median_is_refused() -> None:
    updates = Updates(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="trim=2"):
        coordinatewise.trimmed_mean(updates, 2)
    with pytest.raises(ValueError, match="'mean'"):
        coordinatewise.median(updates, "mean")
