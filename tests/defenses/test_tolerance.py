from functools import partial

import pytest
import torch

from fl_platform.core import Updates
from fl_platform.defenses import largest_f, mean, multi_krum, tolerates


def rows(n: int) -> Updates:
    return Updates(torch.arange(n * 2.0).reshape(n, 2))


def test_limit_is_found_through_partials() -> None:
    assert largest_f(partial(partial(multi_krum, averaged=1), distance_power=1), 10) == 3
    assert largest_f(partial(partial(multi_krum, averaged=1), neighbors="n-f-1"), 10) == 4


def test_a_rule_that_states_nothing_bears_a_minority() -> None:
    assert largest_f(lambda updates, num_byzantine: None, 10) == 4


def test_nobody_to_tolerate_is_always_legal() -> None:
    assert largest_f(multi_krum, 1) == 0
    assert torch.equal(multi_krum(rows(1), 0).vector, rows(1).matrix[0])


@tolerates(lambda n: n // 3)
class DoubleStep:
    def __call__(self, updates: Updates, num_byzantine: int) -> int:
        assert isinstance(updates, Updates)
        return num_byzantine


def test_classes_are_checked_at_their_call() -> None:
    assert largest_f(DoubleStep(), 9) == 3
    assert DoubleStep()(rows(9), 3) == 3
    with pytest.raises(ValueError, match=r"0 to 3, the limit of double_step for n=9 .* f=4"):
        DoubleStep()(rows(9), 4)


@pytest.mark.parametrize("f", [-1, 4, 1.0, True, "2"])
def test_refusal_names_n_f_rule_and_limit(f: object) -> None:
    with pytest.raises(ValueError, match=r"0 to 3, the limit of multi_krum for n=10 rows, got f="):
        multi_krum(rows(10), f)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multi_krum"):
        multi_krum(updates=rows(10), num_byzantine=f)  # type: ignore[arg-type]


def test_rows_are_a_tensor_or_updates_and_nothing_else() -> None:
    matrix = rows(4).matrix
    assert torch.equal(mean(matrix, 0).vector, mean(rows(4), 0).vector)
    assert torch.equal(mean(updates=matrix, num_byzantine=0).vector, mean(rows(4), 0).vector)
    assert DoubleStep()(matrix, 1) == 1
    with pytest.raises(TypeError, match=r"Expected mean's updates as an .* tensor or .*got list"):
        mean([[1.0, 2.0]], 0)
    with pytest.raises(ValueError, match="0 to 1, the limit of multi_krum for n=5"):
        multi_krum(rows(5).matrix, 2)
