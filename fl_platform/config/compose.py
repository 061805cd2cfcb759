"""From what a person typed to one checked configuration, or to one line that says what is wrong.

Cheap questions come first: Hydra's grammar and tree, the root's types and bounds, and the names
of the rules are all settled before any rule's module (and with it torch) is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from fl_platform.config.errors import ConfigError
from fl_platform.config.hydra_tree import compose_tree, parse_overrides
from fl_platform.config.preset import apply_preset
from fl_platform.config.rules import fill
from fl_platform.config.schema import Config, Node
from fl_platform.config.targets import check_exporter, check_target
from fl_platform.config.validation import build_dataclass


def compose(overrides: Sequence[str], home: Path, *, plugins: Sequence[str] = ()) -> Config:
    """The configuration of one run: ``conf/`` of ``home`` with ``overrides`` in Hydra's grammar.

    Precedence, lowest first: a rule's code, its yaml, the task and ``config.yaml``, the preset,
    the experiment file, what was typed. ``plugins`` names packages whose ``__all__`` may be used as
    ``_target_`` and whose ``conf/`` joins the search.

    Raises:
        ConfigError: anything that cannot be run as it stands, named in one line.
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
    apply_preset(preset, nodes, tree.get("task"), written | _keys(typed))
    config = build_dataclass(Config, tree)
    check_exporter(config.runtime.tracking)
    nodes.update({"task.data": config.task.data, "task.model": config.task.model})
    for key, node in nodes.items():
        check_target(node, _group(key), key)
    filled = {key: fill(node, _group(key), key) for key, node in nodes.items()}
    task = dataclasses.replace(config.task, data=filled["task.data"], model=filled["task.model"])
    return dataclasses.replace(
        config,
        task=task,
        attack=filled["attack"],
        defense=filled["defense"],
        mixing=[filled[key] for key in mixings],
    )


def _group(key: str) -> str:
    return "mixing" if key.startswith("mixing") else key


def _in_sequence(mixing: Any) -> dict[str, Node]:
    """The mixings in order by key: no node, one, or several by name (``nnm_bucketing.yaml``)."""
    if not mixing:
        return {}
    if not isinstance(mixing, Mapping):
        raise ConfigError(f"mixing: expected a choice of the group, got {mixing!r}.")
    if "_target_" in mixing:
        return {"mixing": dict(mixing)}
    return {f"mixing.{name}": node for name, node in mixing.items()}


def _keys(typed: Sequence[Override]) -> set[str]:
    return {override.key_or_group for override in typed}
