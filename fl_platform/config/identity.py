"""Identity of a run: the canonical form of a configuration, and its SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fl_platform.config.schema import Config
from fl_platform.config.targets import target_name

SCHEMA = 1  # increase by hand when an old value gets another meaning

# Not part of the identity: how and where a run is computed, its experiment, the location of its
# data, and the default of ``rounds``.
LEFT_OUT = ("runtime", "experiment", "task.data.root", "task.rounds", "loggers")

# Settings added after some recorded run: the dotted key (for a rule's parameter, target and name
# separated by a colon) and the default under which the old hash remains.
LATER: dict[str, Any] = {
    "task.samples": None,
    "task.root_samples": None,
    "callbacks": {},
    "observers.metrics": {},
    "fl_platform.models.resnet18:stem": "imagenet",
    "fl_platform.models.bucketing_cnn:masks": "drawn",
    "fl_platform.models.bucketing_cnn:relus": 2,
    "fl_platform.defenses.rfa:unit": "spread",
    "task.local.steps": None,
    "task.local.walk": "fresh",
    "task.local.drop_last": False,
    "task.local.crop": 0,
    "task.local.flip": False,
    "task.local.schedule": None,
    "worker.clients": "all",
    "worker": {"momentum": 0.0, "dampening": 0.0},
    "data": {"seed": None},
    "byzantine.count": None,
    "evaluation.scores": None,
    "byzantine.data": "share",
    "server.schedule": None,
    "server.weight_decay": 0.0,
    "fl_platform.attacks.mimic:copied": "chosen",
    "attack.schedule": None,
}


def canonical(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values, without the keys outside its identity."""
    return _plain(dataclasses.asdict(config), "", "") | {"schema": SCHEMA}


def config_hash(config: Config) -> str:
    """SHA-256, in hex, of the canonical configuration with sorted keys."""
    text = json.dumps(canonical(config), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def setting_hash(config: Config) -> str:
    """`config_hash` without the seed, which the runs of one mean share."""
    return config_hash(dataclasses.replace(config, seed=0))


def differences(before: Config | Mapping[str, Any], after: Config | Mapping[str, Any]) -> list[str]:
    """One line per key in which two configurations or canonical forms differ: ``seed: 0 -> 1``."""
    old, new = (
        dict(_leaves(canonical(it) if isinstance(it, Config) else it, "")) for it in (before, after)
    )
    return [
        f"{key}: {_leaf(old, key)} -> {_leaf(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or old[key] != new[key]
    ]


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """Dotted scalars for a tracker: ``attack: strike``, ``attack.nu: 1.0``, ``task.local.lr: 0.1``.

    Nulls are omitted, lists are text, mixings are joined by ``+`` in ``mixing`` and listed by name.
    """
    tree = canonical(config)
    del tree["schema"]
    tree["mixing"] = _by_name(tree["mixing"]) or {"none": {}}
    names = [target_name(node) for node in config.mixing] or ["none"]
    params: dict[str, bool | int | float | str] = {"mixing": "+".join(names)}
    for key, value in _leaves(tree, ""):
        if key.endswith("._target_"):
            params[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif value is not None and value != {}:
            params[key] = (
                value if isinstance(value, bool | int | float | str) else json.dumps(value)
            )
    return params


def _by_name(mixings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The parameters of each mixing; the second of one name is ``NAME_2``."""
    named: dict[str, dict[str, Any]] = {}
    seen: Counter[str] = Counter()
    for node in mixings:
        name = target_name(node)
        seen[name] += 1
        key = name if seen[name] == 1 else f"{name}_{seen[name]}"
        named[key] = {k: v for k, v in node.items() if k != "_target_"}
    return named


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


def _leaf(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key]) if key in leaves else "(absent)"
