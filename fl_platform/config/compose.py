"""Composition of one checked configuration from overrides, or an error of one line.

Fast checks come first: Hydra's grammar and tree, the root's types and bounds, and the names of
the rules are all checked before any rule's module (and with it torch) is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from fl_platform.config.errors import ConfigError, shown
from fl_platform.config.hydra_tree import compose_tree, parse_overrides
from fl_platform.config.rules import fill
from fl_platform.config.schema import Config, Node
from fl_platform.config.targets import PLUGIN_GROUPS, check_exporter, check_target, target_name
from fl_platform.config.task_groups import PARTS, prefer_typed, take_task_groups
from fl_platform.config.validation import build_dataclass


def compose(overrides: Sequence[str], home: Path, *, plugins: Sequence[str] = ()) -> Config:
    """The configuration of one run: ``conf/`` of ``home`` with ``overrides`` in Hydra's grammar.

    Precedence, lowest first: a rule's code, its yaml, the task and ``config.yaml``, the preset,
    the experiment file, the overrides. ``plugins`` names packages whose ``__all__`` may be used as
    ``_target_`` and whose ``conf/`` is searched too.

    Raises:
        ConfigError: a configuration that cannot be run; one line with the key.
    """
    typed = parse_overrides(overrides)
    for override in typed:
        if override.is_sweep_override():
            text = override.input_line
            raise ConfigError(
                f"{text}: a run takes one value; for several: fl-platform grid {text}"
            )
    tree, choices, written = compose_tree(typed, home, plugins)
    if choices.get("experiment"):
        tree.pop("grid", None)  # its axes, which `fl-platform grid` reads
    mixings = _in_sequence(tree.pop("mixing", None))
    preset = tree.get("preset") or {}
    tree["preset"] = choices.get("preset") or "none"
    tree["experiment"] = choices.get("experiment") or ""
    nodes: dict[str, Any] = {key: tree.get(key) for key in ("attack", "defense")} | mixings
    said = written | _keys(typed)
    chosen = take_task_groups(tree, said)
    apply_preset(preset, nodes, tree.get("task"), said)
    prefer_typed(tree, said)
    config = build_dataclass(Config, tree)
    check_exporter(config.runtime.tracking)
    parts = [name for name in PARTS if not isinstance(getattr(config.task, name), str)]
    nodes.update({f"task.{name}": getattr(config.task, name) for name in parts})
    nodes |= _by_name(config)
    for key, node in nodes.items():
        check_target(node, _group(key), chosen.get(key, key))
    filled = {key: fill(node, _group(key), chosen.get(key, key)) for key, node in nodes.items()}
    changes: dict[str, Any] = {name: filled[f"task.{name}"] for name in parts}
    task = dataclasses.replace(config.task, **changes)
    return dataclasses.replace(
        config,
        task=task,
        attack=filled["attack"],
        defense=filled["defense"],
        mixing=[filled[key] for key in mixings],
        observers=dataclasses.replace(
            config.observers, metrics=_below(filled, "observers.metrics")
        ),
        callbacks=_below(filled, "callbacks"),
        loggers=_below(filled, "loggers"),
    )


def _group(key: str) -> str:
    parent = key.rpartition(".")[0]
    return parent if parent in ("mixing", *PLUGIN_GROUPS) else key


def _by_name(config: Config) -> dict[str, Node]:
    """The nodes of groups with several choices per run, by key, in order of names."""
    groups = {
        "callbacks": config.callbacks,
        "loggers": config.loggers,
        "observers.metrics": config.observers.metrics,
    }
    for group, nodes in groups.items():
        if "_target_" in nodes:
            raise ConfigError(f"{group}: expected a name above _target_, as {group}.NAME._target_.")
    return {
        f"{group}.{name}": groups[group][name] for group in groups for name in sorted(groups[group])
    }


def _below(nodes: Mapping[str, Node], group: str) -> dict[str, Node]:
    return {key.rpartition(".")[2]: node for key, node in nodes.items() if _group(key) == group}


def _in_sequence(mixing: Any) -> dict[str, Node]:
    """The mixings by key, in order: no node, one, or several by name (``nnm_bucketing.yaml``)."""
    if not mixing:
        return {}
    if not isinstance(mixing, Mapping):
        raise ConfigError(f"mixing: expected a choice of the group, got {mixing!r}.")
    if "_target_" in mixing:
        return {"mixing": dict(mixing)}
    return {f"mixing.{name}": node for name, node in mixing.items()}


def _keys(typed: Sequence[Override]) -> set[str]:
    return {override.key_or_group for override in typed}


TASK_KEYS = ("state",)  # the definition sets model.tensors; the task sets the rest


def apply_preset(preset: Any, nodes: Mapping[str, Any], task: Any, said: Set[str]) -> None:
    """Write the preset's values into the chosen rules and task, except for the keys in ``said``.

    Args:
        preset: ``{"rules": {rule name: {parameter: value}}, "tasks": {task name: {key: value}}}``.
        nodes: the chosen rules by key (``attack``, ``defense``, ``mixing.nnm``); written to.
        task: the chosen task; written to.
        said: dotted keys set by overrides or by an experiment file.

    Raises:
        ConfigError: the preset has another form, or sets a key that it may not set.
    """
    if not isinstance(preset, Mapping) or set(preset) - {"rules", "tasks"}:
        expected = "'rules: {rule: {parameter: value}}' and 'tasks: {task: {key: value}}'"
        raise ConfigError(f"preset: expected {expected} and nothing else.")
    for key, node in nodes.items():
        if isinstance(node, dict):  # otherwise refused later, with a better message
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
