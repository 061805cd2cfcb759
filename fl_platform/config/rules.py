"""A rule's signature as its schema: the keyword-only parameters are its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_type_hints

from fl_platform.config.errors import ConfigError, listed, nearest
from fl_platform.config.schema import ROLES, role, role_names
from fl_platform.config.static_signature import Signature, read_signature
from fl_platform.config.targets import check_target, load_rule, target_name
from fl_platform.config.validation import describe, fit
from fl_platform.core.rule import AGNOSTIC, first_parameters, is_agnostic

# The class that a group's rule returns, by name: distinguishes a rule from other functions of the
# same package without an import of the class.
GIVES = {
    "attack": "Tensor",
    "defense": "Aggregate",
    "mixing": "Tensor",
    "task.data": "Dataset",
    "task.model": "Module",
    "observers.metrics": "dict",
    "task.partition": "Partition",
}
# Groups whose nodes name a class to construct: the required base class, by name.
KINDS = {"observers.metrics": "metric", "callbacks": "callback", "loggers": "logger"}
INHERITS = {"callbacks": "Callback", "loggers": "Logger"}
# The positional parameters of a constructor that the run supplies.
GIVEN = {"callbacks": ("seed", "folder"), "loggers": ("seed", "folder", "name")}


@dataclass(frozen=True)
class Parameter:
    """A keyword-only parameter: its type with its constraints, and its default if it has one."""

    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """True if the configuration must set a value."""
        return self.default is inspect.Parameter.empty


def parameters(rule: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only parameters of a function, or of a class's constructor, in order."""
    call = rule.__init__ if inspect.isclass(rule) else rule
    hints = get_type_hints(call, include_extras=True)
    return {
        name: Parameter(hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def parameters_of(node: Mapping[str, Any]) -> dict[str, Parameter]:
    """The `parameters` of a node's rule, read from its source if possible, else by an import.

    Raises:
        ConfigError: a target that is not allowed in any group.
    """
    signature = read_signature(check_target(node, None, "rule"))
    if signature is None:
        return parameters(load_rule(node, None, "rule"))
    return _written(signature)


def is_agnostic_node(node: Mapping[str, Any]) -> bool:
    """`is_agnostic` of a node's attack, read from its source if possible, else by an import."""
    signature = read_signature(check_target(node, None, "rule"))
    if signature is None:
        return is_agnostic(load_rule(node, None, "rule"))
    return signature.first in AGNOSTIC


def fill(node: Mapping[str, Any], group: str, key: str) -> dict[str, Any]:
    """``node`` with every parameter of its rule and role, checked and with defaults.

    Raises:
        ConfigError: a target that is not allowed or not a rule of the group; an unknown parameter
            (the message suggests the nearest one), a missing one, or a wrong value.
    """
    known = written_parameters(check_target(node, group, key), group)
    if known is None:
        rule = load_rule(node, group, key)
        _check_kind(rule, group, key, str(node["_target_"]))
        known = parameters(rule)
    own = {"_target_": node["_target_"]} | fit_parameters(known, node, key, role_names(group))
    return own | (vars(role(node, group)) if group in ROLES else {})


def written_parameters(target: str, group: str) -> dict[str, Parameter] | None:
    """The parameters of a rule of ``group``, read from its source; ``None``: import the rule."""
    signature = read_signature(target)
    if signature is None or signature.gives != GIVES.get(group) or signature.free:
        return None
    return _written(signature)


def _written(signature: Signature) -> dict[str, Parameter]:
    empty = inspect.Parameter.empty
    return {
        name: Parameter(hint, signature.defaults.get(name, empty))
        for name, hint in signature.hints.items()
    }


def fit_parameters(
    known: Mapping[str, Parameter], node: Mapping[str, Any], key: str, roles: Sequence[str] = ()
) -> dict[str, Any]:
    """All ``known`` parameters of a rule in order: from ``node``, else their defaults.

    Raises:
        ConfigError: a name that is neither a parameter nor one of ``roles``, a missing parameter,
            or a value of another type or range.
    """
    name = target_name(node)
    knows = [*known, *roles]
    for given in node:
        if given != "_target_" and given not in knows:
            raise ConfigError(
                f"{key}.{given}: {name} has no such parameter{nearest(str(given), knows)}"
                f"{listed(knows)}"
            )
    settings = {}
    for given, parameter in known.items():
        if given in node:
            settings[given] = fit(node[given], parameter.hint, f"{key}.{given}")
        elif parameter.required:
            expected = describe(parameter.hint)
            raise ConfigError(f"{key}.{given} is missing: {name} expects {expected}.")
        else:
            settings[given] = fit(parameter.default, parameter.hint, f"{key}.{given}")
    return settings


def _check_kind(rule: Callable[..., Any], group: str, key: str, target: str) -> None:
    kind = KINDS.get(group, group.rpartition(".")[2])
    if group in INHERITS:
        if INHERITS[group] not in [base.__name__ for base in getattr(rule, "__mro__", ())]:
            raise ConfigError(
                f"{key}._target_: {target} is not valid as {kind}: expected a class that inherits"
                f" {INHERITS[group]}."
            )
        _check_free(rule, kind, key, target, GIVEN[group])
        return
    call = rule.__call__ if inspect.isclass(rule) else rule
    gives = get_type_hints(call).get("return") if inspect.isfunction(call) else None
    lineage = [kind.__name__ for kind in getattr(gives, "__mro__", ())]
    if GIVES[group] not in lineage:
        got = "no annotation" if gives is None else getattr(gives, "__name__", str(gives))
        raise ConfigError(
            f"{key}._target_: {target} is not valid as {kind}: it does not return {GIVES[group]};"
            f" expected the return annotation -> {GIVES[group]}, got {got}."
        )
    _check_places(call, group, key, target)
    if group == "observers.metrics" and (
        first := [name for name in first_parameters(call) if name != "self"]
    ) != ["round"]:
        raise ConfigError(
            f"{key}._target_: {target} is not valid as metric: expected one positional"
            f" parameter 'round', got {', '.join(first) or 'none'}."
        )
    if inspect.isclass(rule):
        _check_free(rule, "rule", key, target, ("seed",))


# The positional parameters of a call: allowed names of the first, and allowed further ones.
PLACES = {
    "attack": (("honest", "update", "labels"), ("num_byzantine", "num_classes", "query")),
    "defense": (("updates",), ("num_byzantine",)),
    "mixing": (("updates",), ("num_byzantine",)),
    "task.model": (("num_classes",), ("image_shape",)),
}


def _check_places(call: Callable[..., Any], group: str, key: str, target: str) -> None:
    """Refuse positional parameters that a run does not supply, and positional settings."""
    if group not in PLACES:
        return
    from fl_platform.core.context import FIELDS  # imports the rule, and with it torch

    firsts, others = PLACES[group]
    names = [name for name in first_parameters(call) if name != "self"]
    message = f"{key}._target_: {target} is not valid as {group.rpartition('.')[2]}"
    if names[:1] == [] or names[0] not in firsts:
        raise ConfigError(
            f"{message}: expected a first parameter named {' or '.join(firsts)},"
            f" got {names[0] if names else 'none'}."
        )
    known = {*others, *(() if group == "task.model" else FIELDS)}
    free = [name for name in names[1:] if name not in known]
    if free:
        raise ConfigError(
            f"{message}: the positional parameter {free[0]} cannot be configured; write"
            f" ', *, {free[0]}: TYPE = DEFAULT' to make it keyword-only."
        )


def _check_free(
    rule: Callable[..., Any], kind: str, key: str, target: str, given: Sequence[str]
) -> None:
    """Refuse a constructor with a positional parameter that the run does not supply."""
    free = [name for name in first_parameters(rule) if name not in given]
    if free:
        raise ConfigError(
            f"{key}._target_: {target} is not valid as {kind}: its constructor requires"
            f" {', '.join(free)}; make them keyword-only, each with its type."
        )


_OF_ROLES = {name for group in ROLES for name in role_names(group)}


def build_rule(node: Mapping[str, Any], seed: int = 0, **given: Any) -> Callable[..., Any]:
    """The rule of a node, with its parameters: ``partial(function, **parameters)`` or an instance.

    Role settings in the node are left to the role. A class is constructed with ``seed`` and those
    arguments in ``given`` that its constructor has. The checks of ``compose`` are repeated, so
    they also apply to a node written by hand.

    Raises:
        ConfigError: a target that is not allowed in any group, or wrong parameters.
    """
    rule = load_rule(node, None, "rule")
    own = parameters(rule)
    said = {k: v for k, v in node.items() if k in own or k not in _OF_ROLES}
    settings = fit_parameters(own, said, "rule")
    if not inspect.isclass(rule):
        return partial(rule, **settings)
    takes = inspect.signature(rule).parameters
    settings |= {name: value for name, value in ({"seed": seed} | given).items() if name in takes}
    return cast("Callable[..., Any]", rule(**settings))
