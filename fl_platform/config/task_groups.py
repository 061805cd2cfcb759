"""Groups that choose a part of the task by name: ``model=resnet18``, ``partition=sorted``.

Both are beside the task in the tree: they replace the network or partition in a task's file and
are not merged with it. Both forms give the same configuration: ``partition=dirichlet`` is
``task.partition=dirichlet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from fl_platform.config.errors import ConfigError, listed
from fl_platform.config.rules import parameters_of
from fl_platform.config.targets import target_name
from fl_platform.config.validation import fit

PARTS = ("data", "model", "partition")  # keys of the task that are nodes, not plain values
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
        said: dotted keys set by overrides or by an experiment file.

    Returns:
        The key in the task of each choice, and the group of its settings.

    Raises:
        ConfigError: a setting of the replaced part is set too.
    """
    chosen = {}
    for group in ("model", "partition"):
        node, task = tree.pop(group, None), tree.get("task")
        if not node or not isinstance(task, dict):
            continue
        key = f"task.{group}"
        lost = {f"task.{name}": f"partition.{name}" for name in OF_DIRICHLET}
        plain = PLAIN.get(target_name(node)) if isinstance(node, Mapping) else None
        for name in sorted(said):
            twice = group == "partition" and name in lost and (plain is None or lost[name] in said)
            if name == key or name.startswith(f"{key}.") or twice:
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
    """Omit values of a yaml file that a typed setting excludes."""
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
    """The plain name of a partition older than the group, so that old hashes remain."""
    if plain is None:
        task |= {"partition": dict(node), "beta": None, "minimum": 0}
        return
    task["partition"] = plain
    known = OF_DIRICHLET if plain == "dirichlet" else ()
    for name, value in node.items():
        if name != "_target_" and name not in known:
            raise ConfigError(f"partition.{name}: {plain} has no such parameter.{listed(known)}")
        if name in known and value is not None:
            hint = parameters_of(node)[name].hint
            task[name] = fit(value, hint, f"partition.{name}")
