"""From a node to the callable that it names, without any general-purpose instantiation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from fl_platform.config.roles import ROLES, role_names
from fl_platform.config.signature import fit_parameters, parameters
from fl_platform.config.targets import load_rule

_OF_ROLES = {name for group in ROLES for name in role_names(group)}


def build_rule(node: Mapping[str, Any], seed: int = 0, **given: Any) -> Callable[..., Any]:
    """The rule of a node, with its parameters: ``partial(function, **parameters)`` or an instance.

    Role settings in the node are left to the role. A class is constructed, with ``seed`` and what
    else is ``given`` by name where its constructor takes it. What ``compose`` checks is checked
    here again, so that a node written by hand is no way around it.

    Raises:
        ConfigError: a target that no group may name, or parameters that the rule cannot take.
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
