"""Presets: what a named source of definitions says about rules, whichever rule is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from fl_platform.config.errors import ConfigError
from fl_platform.config.targets import target_name


def apply_preset(preset: Any, nodes: Mapping[str, Any], said: Set[str]) -> None:
    """Write the preset's values into the chosen rules' nodes, but for keys that were ``said``.

    Args:
        preset: ``{"rules": {rule name: {parameter: value}}}``.
        nodes: the chosen rules by key (``attack``, ``defense``, ``mixing.nnm``); written to.
        said: dotted keys that a person typed or an experiment file sets.

    Raises:
        ConfigError: the preset has another form.
    """
    rules = preset.get("rules") or {} if isinstance(preset, Mapping) else None
    if not isinstance(rules, Mapping) or set(preset) - {"rules"}:
        raise ConfigError("preset: expected 'rules: {rule: {parameter: value}}' and nothing else.")
    for key, node in nodes.items():
        if not isinstance(node, dict):
            continue  # refused later, with a better message
        values = rules.get(target_name(node)) or {}
        if not isinstance(values, Mapping):
            raise ConfigError(f"preset.rules.{target_name(node)}: expected parameters by name.")
        node.update({name: value for name, value in values.items() if f"{key}.{name}" not in said})
