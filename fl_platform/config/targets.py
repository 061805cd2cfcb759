"""The code that a configuration may name: the public rules of a group's package, nothing else.

A ``_target_`` is compared, as text, with the names in the package's ``__all__``, which is read
from its source; nothing is imported before that. A prefix test is not sufficient:
``fl_platform.attacks.torch.load`` starts like a rule. After import the object must be defined
inside the package, which excludes names that the package only imports.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import fl_platform
from fl_platform.config.errors import ConfigError, nearest, shown

PACKAGES = {
    "attack": "fl_platform.attacks",
    "defense": "fl_platform.defenses",
    "mixing": "fl_platform.defenses",
    "task.data": "fl_platform.data",
    "task.model": "fl_platform.models",
    "task.partition": "fl_platform.data.partitions",
}
# Rules of other libraries under names of ours: further rules of these groups.
ADAPTERS = "fl_platform.adapters"
ADAPTED = ("attack", "defense")
PLUGIN_GROUPS = ("callbacks", "loggers", "observers.metrics")  # several choices per run
OWN_PARTS = {
    "callbacks": "fl_platform.federated.callbacks",
    "loggers": "fl_platform.tracking.loggers",
}
_plugins: dict[str, Path] = {}  # plug-ins admitted in this process


def admit(plugin: str, home: Path) -> Path:
    """Admit the package or module ``plugin``; the folder that contains it, for its ``conf/``.

    Raises:
        ConfigError: no top-level package of that name on the path, in ``home`` or in the working
            directory.
    """
    places = [*sys.path, str(home), str(Path.cwd())]
    found = PathFinder.find_spec(plugin, places) if plugin.isidentifier() else None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        expected = f"an importable package, or one in {str(home)!r} or in the working directory"
        raise ConfigError(f"--plugin: expected {expected}, got {shown(plugin)}.")
    source = Path(found.origin)
    for place in (home, Path.cwd()):
        if str(place) not in sys.path and place in source.parents:
            sys.path.append(str(place))
    _plugins[plugin] = source
    return source.parent


def admitted() -> tuple[str, ...]:
    """The plugins admitted in this process; another process must admit them again."""
    return tuple(_plugins)


def borrowed(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Path]:
    """The plugins whose rules ``nodes`` name, in order of names, with their sources."""
    named = {str(node.get("_target_")).partition(".")[0] for node in nodes}
    return {plugin: _plugins[plugin] for plugin in sorted(named & _plugins.keys())}


def target_name(node: Mapping[str, Any]) -> str:
    """The rule's own name: ``strike`` of ``fl_platform.attacks.strike``."""
    return str(node.get("_target_")).rpartition(".")[2]


def check_target(node: Any, group: str | None, key: str) -> str:
    """The ``_target_`` of ``node`` if its group allows it; reads text, imports nothing.

    ``group=None``: if any group allows it.

    Raises:
        ConfigError: not the node of a rule, or not a public name of the group's package.
    """
    if not isinstance(node, Mapping):
        raise ConfigError(f"{key}: expected a choice of the group, got {shown(node)}.")
    target = node.get("_target_")
    own = PACKAGES | OWN_PARTS
    packages = [own[group]] if group in own else []
    if group is None:
        packages = sorted(set(own.values()))
    if group is None or group in ADAPTED:
        packages.append(ADAPTERS)
    root = Path(fl_platform.__file__).parent
    sources = {
        name: root.joinpath(*name.split(".")[1:], "__init__.py") for name in packages
    } | _plugins
    sources = {name: file for name, file in sources.items() if file.is_file()}
    known = [f"{name}.{rule}" for name, file in sources.items() for rule in public_names(file)]
    if not isinstance(target, str) or target not in known:
        close = nearest(target, known) if isinstance(target, str) else "."
        from_plugin = [] if _plugins and sources else ["a package named by --plugin"]
        places = [*sources, *(from_plugin if group in PLUGIN_GROUPS else [])]
        expected = f"one of the public names of {' or '.join(places)}"
        hint = _plugin_hint(target)
        raise ConfigError(f"{key}._target_: expected {expected}, got {shown(target)}{close}{hint}")
    return target


def _plugin_hint(target: object) -> str:
    """A hint at the missing ``--plugin``, if the target's package can be imported."""
    package = target.partition(".")[0] if isinstance(target, str) else ""
    if not package.isidentifier() or package in _plugins or package == fl_platform.__name__:
        return ""
    found = PathFinder.find_spec(package, [*sys.path, str(Path.cwd())])
    return f" For a rule of your own package: add --plugin {package}." if found else ""


def check_exporter(name: str) -> str:
    """``runtime.tracking``, if it is ``mlflow``, ``journal`` or a public name of a plug-in.

    Raises:
        ConfigError: another name; nothing is imported.
    """
    known = [f"{plugin}.{each}" for plugin, file in _plugins.items() for each in public_names(file)]
    if name not in ("mlflow", "journal") and name not in known:
        expected = ", ".join(["mlflow", "journal", *known])
        raise ConfigError(
            f"runtime.tracking: expected one of {expected}, got {shown(name)}{nearest(name, known)}"
        )
    return name


def public_names(source: Path) -> tuple[str, ...]:
    """The names in the ``__all__`` of a module's source, without execution."""
    return _names_in(source, source.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _names_in(source: Path, changed: int) -> tuple[str, ...]:
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        value = getattr(statement, "value", None)
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if value is not None and any(getattr(t, "id", None) == "__all__" for t in targets):
            return tuple(map(str, ast.literal_eval(value)))
    return ()


def load_rule(node: Mapping[str, Any], group: str | None, key: str) -> Callable[..., Any]:
    """The function or class that a node names; imports its package.

    Raises:
        ConfigError: a name that is not allowed, or of an object defined in another package.
    """
    target = check_target(node, group, key)
    package, _, name = target.rpartition(".")
    rule = getattr(importlib.import_module(package), name, None)
    home = getattr(rule, "__module__", None) or ""
    if not (inspect.isfunction(rule) or inspect.isclass(rule)):
        raise ConfigError(f"{key}._target_: expected a function or class, got {target}.")
    if home != package and not home.startswith(package + "."):
        raise ConfigError(f"{key}._target_: {target} is not defined in {package} but in {home}.")
    return rule
