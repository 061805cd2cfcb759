"""Groups that choose a part of the task by name: ``model=resnet18``, ``partition=sorted``.

Both stand beside the task in the tree, so that what a task's file says of its own network or
partition is replaced and not merged with them. The result is one configuration whichever way it
was said: ``partition=dirichlet`` is ``task.partition=dirichlet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from fl_platform.config.errors import ConfigError
from fl_platform.config.targets import target_name

PARTS = ("data", "model", "partition")  # of the task: what is a node and not a plain value
PLAIN = {"iid": "iid", "dirichlet": "dirichlet", "by_writer": "writer"}  # older than the group
OF_DIRICHLET = ("beta", "minimum")
EXCLUSIVE = {
    "task.local.steps": ("task.local.epochs",),
    "byzantine.count": ("byzantine.fraction",),
}


def take_task_groups(tree: dict[str, Any], said: Set[str]) -> dict[str, str]:
    """Move the choices of ``model`` and ``partition`` into the task.

    Args:
        tree: the composed tree; written to.
        said: dotted keys that a person typed or an experiment file sets.

    Returns:
        The key in the task of each choice, and the group in which its settings are typed.

    Raises:
        ConfigError: a setting of the part that the choice replaces was said too.
    """
    chosen = {}
    for group in ("model", "partition"):
        node, task = tree.pop(group, None), tree.get("task")
        if not node or not isinstance(task, dict):
            continue
        key = f"task.{group}"
        lost = [f"task.{name}" for name in OF_DIRICHLET] if group == "partition" else []
        plain = PLAIN.get(target_name(node)) if isinstance(node, Mapping) else None
        for name in sorted(said):
            if name == key or name.startswith(f"{key}.") or (name in lost and plain is None):
                raise ConfigError(
                    f"{name}: expected no such setting beside a choice of {group}=NAME, whose"
                    f" settings are {group}.*."
                )
        if group == "partition":
            _partition(task, node, plain)
        else:
            task[group] = node
        chosen[key] = group
    return chosen


def prefer_typed(tree: Mapping[str, Any], said: Set[str]) -> None:
    """Leave out what a yaml file has where a person asked for that which excludes it."""
    for key, others in EXCLUSIVE.items():
        for other in others:
            parent, _, name = other.rpartition(".")
            node: Any = tree
            for part in parent.split("."):
                node = node.get(part) if isinstance(node, Mapping) else None
            asked = isinstance(node, dict) and key in said and other not in said
            if asked and node.get(key.rpartition(".")[2]) is not None:
                node[name] = None


def _partition(task: dict[str, Any], node: Mapping[str, Any], plain: str | None) -> None:
    """A partition older than the group keeps its plain name, so that old runs keep theirs."""
    if plain is None:
        task |= {"partition": dict(node), "beta": None, "minimum": 0}
        return
    task["partition"] = plain
    known = OF_DIRICHLET if plain == "dirichlet" else ()
    for name, value in node.items():
        if name != "_target_" and name not in known:
            raise ConfigError(f"partition.{name}: {plain} has no such parameter.")
        if name in known and value is not None:
            task[name] = value
