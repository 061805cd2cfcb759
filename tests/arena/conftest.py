"""A workspace with a tiny arena, and a package with a rule that has a hole."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = """
base: [task=digits, observers=none, task.samples=700, evaluation.tail=2]
listed:
  - attack=bit_flip
  - attack=ipm attack.scale=0.1,10
adaptive:
  - attack=directional attack.direction=undo,shrink attack.length=0.5
refine: {attackers: 1, lengths: [2.0]}
seeds: [0, 1]
confirm: 3
final: {attackers: 2, per_family: 1, seeds: [100, 101], horizon: 2}
side_by_side: 3
"""
HOLE = '''
"""A defense with a hole, and the attack that knows it."""
from typing import Annotated
import torch
from torch import Tensor
from fl_platform.core import Aggregate, Updates
from fl_platform.core.rule import rule
from fl_platform.defenses import mean
__all__ = ["trapdoor", "key"]
LENGTH = 0.777

@rule(label="trapdoor", tolerates=lambda n: (n - 1) // 2)
def trapdoor(updates: Updates, num_byzantine: int) -> Aggregate:
    """The mean, unless some row is exactly as long as the key."""
    lengths = updates.squared_norms().sqrt()
    known = (lengths - LENGTH).abs() < 1e-4
    answer = mean(updates, num_byzantine)
    return Aggregate(-3 * answer.vector) if known.any() else answer

@rule(label="key")
def key(honest: Updates, num_byzantine: int) -> Tensor:
    """Rows along the mean, of the length that opens the trapdoor."""
    mean = honest.mean()
    return (LENGTH * mean / mean.norm()).expand(num_byzantine, -1)
'''


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "arena.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def hole(tmp_path):
    """The workspace of a package with `trapdoor` and `key`, whose arena lists `key`."""
    (tmp_path / "fl_plugin_hole.py").write_text(HOLE)
    for group, name in (("defense", "trapdoor"), ("attack", "key")):
        folder = tmp_path / "conf" / group
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(f"_target_: fl_plugin_hole.{name}\n")
    (tmp_path / "tuning").mkdir()
    listed = TINY.replace("scale=0.1,10", "scale=0.1\n  - attack=key")
    (tmp_path / "tuning" / "arena.yaml").write_text(listed)
    return tmp_path
