"""Settings that stand in a rule's node but belong to its role in the round, not to the rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from fl_platform.config.values import build_dataclass


@dataclass(frozen=True, kw_only=True)
class AttackRole:
    """What the adversary sees: all honest updates, its own clients', or those of k clients."""

    knowledge: Literal["all", "own"] | int = "all"

    def __post_init__(self) -> None:
        if isinstance(self.knowledge, int) and self.knowledge < 1:
            raise ValueError(f"knowledge: expected all, own or k >= 1, got {self.knowledge}.")


@dataclass(frozen=True, kw_only=True)
class DefenseRole:
    """What the server does where f exceeds what the rule tolerates, and the f it is told."""

    on_excess_f: Literal["clamp", "keep_model", "error"] = "clamp"
    assumed_f: int | None = None

    def __post_init__(self) -> None:
        if self.assumed_f is not None and self.assumed_f < 0:
            raise ValueError(f"assumed_f: expected null or f >= 0, got {self.assumed_f}.")


@dataclass(frozen=True, kw_only=True)
class MetricRole:
    """Rounds between two measurements; the first round is measured."""

    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every: expected a whole number >= 1, got {self.every}.")


ROLES: dict[str, type] = {
    "attack": AttackRole,
    "defense": DefenseRole,
    "observers.metrics": MetricRole,
}


def role_names(group: str) -> tuple[str, ...]:
    """The names of the role settings of a group; none for groups without a role."""
    return tuple(field.name for field in fields(ROLES[group])) if group in ROLES else ()


def role(node: Mapping[str, Any], group: str) -> Any:
    """The role settings in ``node``, as the class in ``ROLES``, defaults filled in.

    Raises:
        ConfigError: a wrong value.
    """
    said = {name: node[name] for name in role_names(group) if name in node}
    return build_dataclass(ROLES[group], said, group)
