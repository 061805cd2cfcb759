"""Updates: what is shared is right, and hostile rows cannot spoil what honest rows say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_platform.core import Updates, generator
from fl_platform.core.views import Selected


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed, "test"), dtype=dtype)


def exact_squares(matrix: torch.Tensor) -> torch.Tensor:
    wide = matrix.double()
    return (wide[:, None] - wide[None]).square().sum(2)


def worst_relative_error(squares: torch.Tensor, exact: torch.Tensor) -> float:
    off = ~torch.eye(len(exact), dtype=torch.bool)
    return float(((squares - exact).abs() / exact)[off].max())


def mean_centred_squares(matrix: torch.Tensor) -> torch.Tensor:
    centred = matrix - matrix.mean(0)
    gram = (centred @ centred.T).double()
    return gram.diagonal()[:, None] + gram.diagonal()[None] - 2 * gram


def hostile_rows(name: str, honest: torch.Tensor, f: int) -> torch.Tensor:
    d = honest.shape[1]
    if name == "negated":
        return -honest.mean(0).expand(f, d)
    if name == "spread":
        return 10.0 ** torch.linspace(2, 9.7, f)[:, None] * normal(f, d, seed=9).sign()
    return torch.full((f, d), float(name))


@pytest.mark.parametrize("way", ["compiled where possible", "torch"])
@pytest.mark.parametrize("first", [True, False], ids=["byzantine first", "byzantine last"])
@pytest.mark.parametrize("name", ["1e2", "1e6", "5e9", "1e20", "negated", "spread"])
@pytest.mark.parametrize("ratio", [1.0, 1e2, 1e4])
def test_honest_distances_are_exact_beside_hostile_rows(
    ratio: float, name: str, first: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0" if way == "torch" else "1")
    honest = 0.01 * (ratio * normal(6000, seed=1) + normal(12, 6000, seed=2))
    hostile = hostile_rows(name, honest, 5)
    rows = torch.cat([hostile, honest] if first else [honest, hostile])
    kept = slice(5, None) if first else slice(0, 12)
    exact = exact_squares(honest)
    squares = Updates(rows).squared_distances()[kept, kept]
    assert worst_relative_error(squares, exact) <= 1e-4
    views = Updates(honest).extended(hostile)
    assert worst_relative_error(views.squared_distances()[:12, :12], exact) <= 1e-4


def test_control_a_gram_about_the_mean_and_plain_cdist_fail_the_same_check() -> None:
    honest = 0.01 * normal(40, 6000, seed=2)
    beside = torch.cat([honest, torch.full((10, 6000), 1e2)])
    assert worst_relative_error(mean_centred_squares(beside)[:40, :40], exact_squares(honest)) > 0.1
    offset = normal(40, 6000, seed=2) + 1e4
    mm = torch.cdist(offset, offset, compute_mode="use_mm_for_euclid_dist").square().double()
    assert worst_relative_error(mm, exact_squares(offset)) > 0.1
    assert worst_relative_error(Updates(offset).squared_distances(), exact_squares(offset)) <= 1e-4


def test_rows_that_look_honest_only_in_the_sampled_columns_do_not_become_the_centre() -> None:
    honest = normal(11, 60_000, seed=3)
    probe = Updates(torch.arange(60_000.0)[None].repeat(2, 1))
    from fl_platform.core.products import _sample

    seen = _sample(probe.matrix)[0].long()
    hostile = torch.full((5, 60_000), 1e8)
    hostile[:, seen] = honest.mean(0)[seen]  # nearer to everyone than anyone, as far as sampled
    updates = Updates(torch.cat([hostile, honest]))
    assert worst_relative_error(updates.squared_distances()[5:, 5:], exact_squares(honest)) <= 1e-4
    assert bool((updates.centre() == honest).all(1).any())


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e15, 1e25])
def test_squares_that_float32_cannot_hold_are_still_exact(scale: float) -> None:
    matrix = scale * normal(7, 3000)
    exact = exact_squares(matrix)
    assert worst_relative_error(Updates(matrix).squared_distances(), exact) <= 1e-4
    views = Updates(matrix[:4]).extended(matrix[4:])
    assert worst_relative_error(views.squared_distances(), exact) <= 1e-4


def test_control_plain_float32_loses_those_squares() -> None:
    for scale, lost in [(1e-30, 0.0), (1e25, torch.inf)]:
        matrix = scale * normal(7, 3000)
        assert bool(((matrix @ matrix.T).diagonal() == lost).all())


def test_rows_that_are_no_numbers_spoil_only_their_own_entries() -> None:
    matrix = normal(9, 500)
    matrix[0], matrix[3, 7], matrix[8] = torch.nan, torch.inf, torch.nan
    good = torch.tensor([1, 2, 4, 5, 6, 7])
    updates = Updates(matrix)
    squares = updates.select(good).squared_distances()
    assert worst_relative_error(squares, exact_squares(matrix[good])) <= 1e-5
    weights = torch.rand(6, generator=generator(1, "w"), dtype=torch.float64)
    torch.testing.assert_close(
        updates.select(good).combine(weights), weights.float() @ matrix[good]
    )
    assert updates.select(good).mean().isfinite().all()
    plain = torch.zeros(9).index_put((good,), weights.float()) @ matrix
    assert not plain.isfinite().all()  # control: zero times NaN is NaN


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_statistics_equal_their_definitions(m: int, dtype: torch.dtype) -> None:
    matrix = normal(m, 9001).to(dtype)
    updates = Updates(matrix)
    wide = matrix.double()
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(updates.mean().double(), wide.mean(0), **tolerance)
    torch.testing.assert_close(updates.std().double(), wide.std(0, correction=0), **tolerance)
    ordered = wide.sort(0).values
    assert torch.equal(updates.median("lower").double(), ordered[(m - 1) // 2])
    midpoint = (ordered[(m - 1) // 2] + ordered[m // 2]) / 2
    torch.testing.assert_close(updates.median().double(), midpoint, **tolerance)
    centred = wide - updates.centre().double()
    torch.testing.assert_close(updates.gram(), centred @ centred.T, rtol=1e-5, atol=1e-4)
    direction = normal(9001, seed=4)
    torch.testing.assert_close(
        updates.project(direction), centred @ direction.double(), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("way", ["compiled where possible", "torch"])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_distances_to_a_point_do_not_cancel(
    scale: float, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FL_PLATFORM_NATIVE", "0" if way == "torch" else "1")
    matrix = scale * (normal(5, 3001) + 1000)
    point = matrix[1] + scale * 0.01 * normal(3001, seed=5)
    exact = (matrix.double() - point.double()).square().sum(1)
    torch.testing.assert_close(
        Updates(matrix).squared_distances_to(point), exact, rtol=1e-5, atol=0
    )
    assert float(Updates(matrix).squared_distances_to(matrix[2])[2]) == 0.0


def row_stochastic(rows: int, columns: int, seed: int) -> torch.Tensor:
    mixing = torch.rand(rows, columns, generator=generator(seed, "mixing"), dtype=torch.float64)
    return mixing / mixing.sum(1, keepdim=True)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["select", "slice", "mixed", "extended", "equal"]), st.integers(0, 99)
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 999))
def test_any_chain_of_views_equals_the_matrix_written_out(
    steps: list[tuple[str, int]], seed: int
) -> None:
    d = 50
    matrix = normal(6, d, seed=seed, dtype=torch.float64)
    view, plain = Updates(matrix), matrix
    for step, key in steps:
        m = len(plain)
        draws = generator(key, "step", m)
        if step == "select":
            index = torch.randint(m, (1 + key % 7,), generator=draws)
            view, plain = view.select(index), plain[index]
        elif step == "slice":
            view, plain = view.select(slice(key % m, None)), plain[key % m :]
        elif step == "mixed":
            mixing = row_stochastic(1 + key % 7, m, key)
            view, plain = view.mixed(mixing), mixing @ plain
        else:
            rows = normal(key % 4, d, seed=key, dtype=torch.float64)
            if step == "equal":
                rows = normal(1, d, seed=key, dtype=torch.float64).expand(key % 4, d)
            view, plain = view.extended(rows), torch.cat([plain, rows])
    check_equal(view, plain)


def check_equal(view: Updates, plain: torch.Tensor) -> None:
    assert len(view) == len(plain)
    assert view.dimension == plain.shape[1]
    close = {"rtol": 1e-9, "atol": 1e-9}
    centred = plain - view.centre()
    torch.testing.assert_close(view.gram(), centred @ centred.T, **close)
    torch.testing.assert_close(view.squared_distances(), exact_squares(plain), **close)
    weights = torch.linspace(-1, 2, len(plain), dtype=torch.float64)
    torch.testing.assert_close(view.combine(weights), weights @ plain, **close)
    torch.testing.assert_close(view.mean(), plain.mean(0), **close)
    torch.testing.assert_close(view.std(), plain.std(0, correction=0), **close)
    torch.testing.assert_close(view.median(), Updates(plain).median(), **close)
    direction = torch.linspace(-1, 1, plain.shape[1], dtype=torch.float64)
    torch.testing.assert_close(view.project(direction), centred @ direction, **close)
    far = (plain - direction).square().sum(1)
    torch.testing.assert_close(view.squared_distances_to(direction), far, **close)
    torch.testing.assert_close(
        torch.cat([chunk for _, chunk in view.columns(7)], 1), plain, **close
    )
    rows = view.rows()
    assert rows is None or torch.equal(torch.stack(rows), plain)
    torch.testing.assert_close(view.matrix, plain, **close)


def test_control_the_view_check_notices_one_wrong_row() -> None:
    matrix = normal(5, 50, dtype=torch.float64)
    view = Updates(matrix).select(torch.tensor([0, 1, 3]))
    with pytest.raises(AssertionError):
        check_equal(view, matrix[[0, 1, 2]])


def test_views_form_no_second_matrix_and_ask_for_the_gram_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = normal(8, 100)
    updates = Updates(matrix)
    updates.gram()

    def refuse(*_: object) -> None:
        raise AssertionError("a second pass or a second matrix")

    monkeypatch.setattr("fl_platform.core.products._chunked", refuse)
    monkeypatch.setattr("fl_platform.core.native.kernels.products", refuse)
    monkeypatch.setattr("fl_platform.core.native.kernels.offsets", refuse)
    monkeypatch.setattr("fl_platform.core.views._View._materialised", property(refuse))
    mixing = row_stochastic(8, 8, 0)
    view = updates.select(torch.randperm(8, generator=generator(0, "p"))).mixed(mixing)
    view.squared_distances()
    view.combine(torch.ones(8) / 8)
    view.mean()
    with pytest.raises(AssertionError, match="second"):
        updates.extended(normal(2, 100)).gram()  # control: unknown rows do need a pass


def test_a_slice_shares_memory_and_a_permuted_view_only_points() -> None:
    matrix = normal(6, 10)
    updates = Updates(matrix)
    assert updates.select(slice(0, 4)).matrix.data_ptr() == matrix.data_ptr()
    twice = updates.select(torch.tensor([5, 0, 3])).select(torch.tensor([True, False, True]))
    assert isinstance(twice, Selected)
    assert [row.data_ptr() for row in twice.rows()] == [matrix[5].data_ptr(), matrix[3].data_ptr()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Updates(torch.zeros(3)), "shape \\(m, d\\)"),
        (lambda: Updates(torch.zeros(0, 3)), "m >= 1"),
        (lambda: Updates(torch.zeros(2, 3, dtype=torch.long)), "floating-point"),
        (lambda: Updates(torch.zeros(2, 3)).mixed(torch.ones(2, 2)), "sum to 1"),
        (lambda: Updates(torch.zeros(2, 3)).mixed(torch.ones(2, 3) / 3), "\\(m', 2\\)"),
        (lambda: Updates(torch.zeros(2, 3)).extended(torch.ones(2, 2)), "\\(f, 3\\)"),
        (lambda: Updates(torch.zeros(2, 3)).select(slice(2, 2)), "at least one"),
    ],
)
def test_what_is_no_update_matrix_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
