"""A point as a file that can be used again: ``fl-platform run experiment=NAME``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from fl_platform.config.files import GROUPS
from fl_platform.config.hydra_tree import parse_overrides


def override_file(overrides: Sequence[str], told: str) -> str:
    """An experiment file with the settings of ``overrides``; ``told`` is its second line.

    A later override of a key wins over an earlier one, as on the command line.
    """
    choices: dict[str, Any] = {}
    tree: dict[str, Any] = {}
    for override in parse_overrides(overrides):
        key, value = override.key_or_group, override.value()
        if key in GROUPS:
            choices[key] = value
        elif key.partition(".")[0] != "runtime":
            node = tree
            *parents, last = key.split(".")
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = value
    defaults = [{f"override /{group}": choice} for group, choice in choices.items()]
    whole = {"defaults": defaults, **tree} if defaults else tree
    return f"# @package _global_\n# {told}\n" + yaml.safe_dump(whole, sort_keys=False)
