"""Presets: what a named source of definitions says about rules and tasks, whichever are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from fl_platform.config.errors import ConfigError, shown
from fl_platform.config.targets import target_name

TASK_KEYS = ("state",)  # what rules are shown of a model is the definition's; the rest a task's


def apply_preset(preset: Any, nodes: Mapping[str, Any], task: Any, said: Set[str]) -> None:
    """Write the preset's values into the chosen rules and task, but for keys that were ``said``.

    Args:
        preset: ``{"rules": {rule name: {parameter: value}}, "tasks": {task name: {key: value}}}``.
        nodes: the chosen rules by key (``attack``, ``defense``, ``mixing.nnm``); written to.
        task: the chosen task; written to.
        said: dotted keys that a person typed or an experiment file sets.

    Raises:
        ConfigError: the preset has another form, or sets what is not its to say.
    """
    if not isinstance(preset, Mapping) or set(preset) - {"rules", "tasks"}:
        expected = "'rules: {rule: {parameter: value}}' and 'tasks: {task: {key: value}}'"
        raise ConfigError(f"preset: expected {expected} and nothing else.")
    for key, node in nodes.items():
        if isinstance(node, dict):  # else refused later, with a better message
            values = _values(preset, "rules", target_name(node))
            node.update({n: value for n, value in values.items() if f"{key}.{n}" not in said})
    if isinstance(task, dict):
        name = str(task.get("name"))
        values = _values(preset, "tasks", name)
        for key in values:
            if key not in TASK_KEYS:
                known = ", ".join(TASK_KEYS)
                raise ConfigError(f"preset.tasks.{name}: expected {known} alone, got {shown(key)}.")
        task.update({k: value for k, value in values.items() if f"task.{k}" not in said})


def _values(preset: Mapping[str, Any], part: str, name: str) -> Mapping[str, Any]:
    named = preset.get(part) or {}
    values = named.get(name) or {} if isinstance(named, Mapping) else None
    if not isinstance(values, Mapping):
        raise ConfigError(f"preset.{part}: expected names, and parameters by name, at {name}.")
    return values
