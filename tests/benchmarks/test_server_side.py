"""The two sides of the benchmark compute the same thing, else their times say nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks import plain, server_side
from fl_platform.attacks import min_max, min_sum, strike
from fl_platform.core import Updates
from fl_platform.defenses import Chain, centered_clipping, multi_krum, nnm, rfa, trimmed_mean

F = server_side.F
ROWS = server_side.update_rows(700)
HONEST = ROWS[: server_side.N - F]


def agree(ours: Tensor, written: Tensor) -> bool:
    """To float32's rounding, or to the 1e-5 at which the plain searches stop."""
    return torch.allclose(ours, written, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "written"),
    [
        (lambda: multi_krum(Updates(ROWS), F).vector, lambda: plain.multi_krum(ROWS, F)),
        (lambda: rfa(Updates(ROWS), F, start="mean").vector, lambda: plain.rfa(ROWS)),
        (lambda: trimmed_mean(Updates(ROWS), F).vector, lambda: plain.trimmed_mean(ROWS, F)),
        (lambda: Updates(ROWS).median("lower"), lambda: plain.median(ROWS)),
        (
            lambda: Chain(multi_krum, [nnm])(Updates(ROWS), F).vector,
            lambda: plain.multi_krum(plain.nnm(ROWS, F), F),
        ),
        (
            lambda: centered_clipping(tau=0.5)(Updates(ROWS), F).vector,
            lambda: plain.centered_clipping(ROWS, 0.5),
        ),
        (lambda: min_max(Updates(HONEST), F, side="below")[0], lambda: plain.min_max(HONEST)),
        (lambda: min_sum(Updates(HONEST), F, side="below")[0], lambda: plain.min_sum(HONEST)),
        (lambda: strike(Updates(HONEST), F, median="lower")[0], lambda: plain.strike(HONEST, F)),
    ],
    ids=["multi_krum", "rfa", "trimmed_mean", "median", "nnm", "clipping", "max", "sum", "strike"],
)
def test_ours_and_plain_agree(ours: Callable[[], Tensor], written: Callable[[], Tensor]) -> None:
    assert agree(ours(), written())


def test_control_another_rule_does_not_agree() -> None:
    assert not agree(plain.median(ROWS), plain.trimmed_mean(ROWS, F))
    assert not agree(plain.strike(HONEST, F), plain.min_max(HONEST))


def test_a_small_run_fills_every_way_of_every_case() -> None:
    switch = server_side.os.environ.get("FL_PLATFORM_NATIVE")
    rows = server_side.update_rows(64)
    todo = server_side.cases(rows)
    floor = server_side.measure(todo, rows, repeats=1)
    lines = server_side.table(todo, floor)
    assert [line["case"] for line in lines] == [case.name for case in todo]
    for case, line in zip(todo, lines, strict=True):
        assert (line["plain_ms"] is not None) == (case.plain is not None)
        assert (line["met"] is not None) == bool(case.reads or (case.ratio and case.plain))
    assert len(server_side.show(lines).splitlines()) == len(todo) + 2
    assert server_side.os.environ.get("FL_PLATFORM_NATIVE") == switch  # put back


@pytest.mark.parametrize(("reads", "met"), [(0.5, False), (5.0, True)])
def test_a_missed_target_is_called_missed(reads: float, met: bool) -> None:
    case = server_side.Case("slow", ours=lambda: None, reads=reads)
    case.seconds["ours"] = [3.0, 2.0, 9.0]
    assert server_side.table([case], floor=1.0)[0]["met"] is met
