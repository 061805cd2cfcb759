"""Exact rules answer one input with the same bits, whatever was drawn between two calls."""

import subprocess
import sys

import pytest
import torch

from fl_platform.defenses import caf, smea

DRAW = "torch.randn(9, 40, generator=torch.Generator().manual_seed(seed))"


@pytest.mark.parametrize("rule", [caf, smea])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_twice_in_one_process(rule, dtype, seed):
    rows = torch.randn(9, 40, generator=torch.Generator().manual_seed(seed)).to(dtype)
    torch.manual_seed(1)
    first = rule(rows, 2)
    torch.manual_seed(2)
    torch.randn(100)
    second = rule(rows.clone(), 2)
    assert torch.equal(first.vector, second.vector)
    assert torch.equal(first.weights, second.weights)


def test_in_two_processes():
    code = (
        "import torch; from fl_platform.defenses import caf, smea; seed = 0;"
        f"rows = {DRAW};"
        "print([rule(rows, 2).vector.tolist() for rule in (caf, smea)])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""
