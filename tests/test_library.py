"""The page about the rules as a library says what is so: its example runs."""

from pathlib import Path

import torch

from fl_platform.attacks import mpaf, optimal_alie
from fl_platform.core.context import Context
from fl_platform.defenses import Chain, fltrust, foolsgold, largest_f, median, multi_krum

PAGE = (Path(__file__).parents[1] / "docs" / "library.md").read_text()


def test_the_example_runs():
    code = PAGE.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert names["byzantine"].shape == (10, 1000)
    assert names["answer"].vector.shape == (1000,)
    assert names["answer"].weights.shape == (50,)
    assert names["defense"](names["received"], 10).vector.shape == (1000,)


def test_what_the_list_names_exists():
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    own = torch.ones(5)
    alone = fltrust(rows, 2, reference=own).vector
    assert torch.equal(Chain(fltrust)(rows, 2, context=Context(reference=own)).vector, alone)
    assert foolsgold()(rows, 2, clients=torch.arange(12)).vector.shape == (5,)
    assert mpaf()(rows, 2, model=own).shape == (2, 5)
    sent = optimal_alie(rows, 2, lambda more: median(torch.cat([rows, more]), 2).vector)
    assert sent.shape == (2, 5)
    assert multi_krum.facts.label == "Multi-Krum"
    assert multi_krum.facts.tolerates(12) == largest_f(multi_krum, 12) == 4
