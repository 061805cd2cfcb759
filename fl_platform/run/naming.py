"""Printed names of runs and rules: ``strike(nu=1) vs multi_krum, digits s0``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fl_platform.config import Config, flat, target_name
from fl_platform.config.rules import is_agnostic_node, parameters_of
from fl_platform.config.schema import AttackRole, DefenseRole

_LABELLED = ("attack", "defense", "mixing", "observers", "callbacks")
ROLES = {f.name: f.default for role in (AttackRole, DefenseRole) for f in fields(role)}
ALWAYS_SHOWN = ("nu", "z", "scale", "side", "tau", "s", "trim", "skewed_set", "match")


def rule_label(node: Mapping[str, Any]) -> str:
    """A rule's name with its main parameters and all that differ from their defaults."""
    name = target_name(node)
    known = parameters_of(node)
    shown = [
        f"{key}={_short(node[key])}"
        for key, parameter in known.items()
        if key in node
        and (key in ALWAYS_SHOWN or node[key] != parameter.default)
        and node[key] is not None
    ]
    shown += [
        f"{key}={_short(node[key])}"
        for key, default in ROLES.items()
        if key not in known
        and node.get(key, default) != default
        # knowledge has no effect on an attack that receives its own client's update only
        and not (key == "knowledge" and is_agnostic_node(node))
    ]
    return f"{name}({', '.join(shown)})" if shown else name


def mixing_label(config: Config) -> str:
    """The mixings in order, joined by ``+``; empty if there is none."""
    return "+".join(rule_label(node) for node in config.mixing)


def run_name(config: Config, *, apart: str = "") -> str:
    """The name of a run: ``runtime.name``, or attack, defense with its mixings, task, seed.

    The parts in which the runs of a grid differ come first: narrow columns cut the end.

    Args:
        config: configuration of the run.
        apart: further differences, such as ``beta=0.1``; placed before the task.
    """
    if config.runtime.name:
        return config.runtime.name
    defense = "+".join(filter(None, [mixing_label(config), rule_label(config.defense)]))
    rules = f"{rule_label(config.attack)} vs {defense}"
    return ", ".join(filter(None, [rules, apart, f"{config.task.name} s{config.seed}"]))


def seedless(name: str) -> str:
    """The name of a run without its seed, which the runs of one mean share.

    Example:
        >>> from fl_platform.run.naming import seedless
        >>> seedless("lie(z=1.5) vs krum, digits s3"), seedless("mine")
        ('lie(z=1.5) vs krum, digits', 'mine')
    """
    return re.sub(r" s\d+$", "", name)


def task_of(name: str) -> str:
    """The task in the name of a run that has no ``runtime.name``: what stands before the seed."""
    return seedless(name).rpartition(", ")[2]


def run_names(configs: Sequence[Config]) -> list[str]:
    """A name per run of a grid, with the further settings in which runs of one task differ."""
    settings = [_further(config) for config in configs]
    values: dict[str, dict[str, set[str]]] = {}
    for config, found in zip(configs, settings, strict=True):
        by_key = values.setdefault(config.task.name, {})
        for key in found:
            by_key.setdefault(key, set())
    for config, found in zip(configs, settings, strict=True):
        for key, seen in values[config.task.name].items():
            seen.add(found.get(key, "null"))
    names = []
    for config, found in zip(configs, settings, strict=True):
        keys = [key for key, seen in values[config.task.name].items() if len(seen) > 1]
        short = Counter(["seed", *(key.rpartition(".")[2] for key in keys)])  # s0 is the run's own
        apart = []
        for key in keys:
            last = key.rpartition(".")[2]
            apart.append(f"{last if short[last] == 1 else key}={found.get(key, 'null')}")
        names.append(run_name(config, apart=" ".join(apart)))
    return names


def _further(config: Config) -> dict[str, str]:
    """The settings that are neither in a label of a rule nor a seed."""
    return {
        key: _short(value)
        for key, value in flat(config).items()
        if key != "seed" and key.partition(".")[0] not in _LABELLED
    }


def run_tags(config: Config) -> dict[str, str]:
    """Tags for grouping and searching runs."""
    return {
        "task": config.task.name,
        "attack": target_name(config.attack),
        "attack_label": rule_label(config.attack),
        "defense": target_name(config.defense),
        "defense_label": rule_label(config.defense),
        "mixing": mixing_label(config),
        "preset": config.preset,
        "seed": str(config.seed),
    }


def _short(value: Any) -> str:
    if isinstance(value, Mapping):  # an attack's schedule; 0 and null are its defaults
        return " ".join(f"{key} {_short(part)}" for key, part in value.items() if part)
    return f"{value:g}" if isinstance(value, float) else str(value)
