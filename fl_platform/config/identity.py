"""What makes two runs the same run: the canonical form of a configuration, and its SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fl_platform.config.schema import Config
from fl_platform.config.targets import target_name

SCHEMA = 1  # bump by hand where an old value comes to mean something else

# How and where a run is computed, what it is filed under, where its data lie, and what only stands
# in for ``rounds`` where nothing is typed: not what the run is.
LEFT_OUT = ("runtime", "experiment", "task.data.root", "task.rounds", "loggers")

# Settings younger than some recorded run: the dotted key (for a rule's parameter, its target and
# name with a colon between) and the default under which the run keeps its old name.
LATER: dict[str, Any] = {
    "task.samples": None,
    "task.root_samples": None,
    "callbacks": {},
    "observers.metrics": {},
    "fl_platform.models.resnet18:stem": "imagenet",
    "task.local.steps": None,
    "task.local.walk": "fresh",
    "task.local.drop_last": False,
    "task.local.crop": 0,
    "task.local.flip": False,
    "task.local.schedule": None,
    "worker": {"momentum": 0.0, "dampening": 0.0},
    "data": {"seed": None},
    "byzantine.count": None,
    "byzantine.data": "share",
    "server.schedule": None,
    "server.weight_decay": 0.0,
    "attack.schedule": None,
}


def canonical(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, without what does not belong to its identity."""
    return _plain(dataclasses.asdict(config), "", "") | {"schema": SCHEMA}


def config_hash(config: Config) -> str:
    """SHA-256, in hex, of the canonical configuration with sorted keys."""
    text = json.dumps(canonical(config), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: Config | Mapping[str, Any], after: Config | Mapping[str, Any]) -> list[str]:
    """One line a key in which two configurations (or canonical forms) differ: ``seed: 0 -> 1``."""
    old, new = (
        dict(_leaves(canonical(it) if isinstance(it, Config) else it, "")) for it in (before, after)
    )
    return [
        f"{key}: {_told(old, key)} -> {_told(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or old[key] != new[key]
    ]


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """Dotted scalars for a tracker: ``attack: strike``, ``attack.nu: 1.0``, ``task.local.lr: 0.1``.

    Null is left out, lists are text, mixings are joined by ``+`` in ``mixing`` and listed by name.
    """
    tree = canonical(config)
    del tree["schema"]
    tree["mixing"] = (
        {"none": {}}
        if not config.mixing
        else {
            target_name(node): {k: v for k, v in node.items() if k != "_target_"}
            for node in tree["mixing"]
        }
    )
    params: dict[str, bool | int | float | str] = {"mixing": "+".join(tree["mixing"])}
    for key, value in _leaves(tree, ""):
        if key.endswith("._target_"):
            params[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif value is not None and value != {}:
            params[key] = (
                value if isinstance(value, bool | int | float | str) else json.dumps(value)
            )
    return params


def _plain(value: Any, key: str, target: str) -> Any:
    if isinstance(value, Mapping):
        rule = value.get("_target_", "")
        kept = {}
        for name, child in value.items():
            path = f"{key}.{name}" if key else name
            later = f"{rule}:{name}" if rule else path
            plain = _plain(child, path, rule)
            younger = any(k in LATER and plain == LATER[k] for k in {path, later})
            if path in LEFT_OUT or younger:
                continue
            kept[str(name)] = plain
        return kept
    if isinstance(value, list | tuple):
        return [_plain(child, f"{key}.{i}", target) for i, child in enumerate(value)]
    return value + 0.0 if isinstance(value, float) else value


def _leaves(node: Any, key: str) -> list[tuple[str, Any]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(node, Mapping):
        items = list(node.items())
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        items = list(enumerate(node))  # mixings; a list of plain values is one value
    if not items:
        return [(key, node)]
    return [
        leaf
        for name, child in items
        for leaf in _leaves(child, f"{key}.{name}" if key else str(name))
    ]


def _told(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key]) if key in leaves else "(absent)"
