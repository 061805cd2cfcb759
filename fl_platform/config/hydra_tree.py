"""Hydra's part: overrides and yaml files to one plain tree, exceptions to one line each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fl_platform.config.aliases import meaning
from fl_platform.config.errors import ConfigError, listed, nearest, shown
from fl_platform.config.hydra_internals import (
    GROUPS,
    State,
    UnknownKeyError,
    check_files,
    merge,
)
from fl_platform.config.paths import conf_folder, conf_folders, looked_in, plugin_with
from fl_platform.config.rules import parameters_of
from fl_platform.config.schema import ROLES, Config, role_names
from fl_platform.config.targets import admit, target_name
from fl_platform.core.attack_schedule import AttackSchedule
from fl_platform.core.outside import read_yaml
from fl_platform.core.schedules import KINDS

ONE_CHOICE = ("task", "model", "partition", "local", "attack", "defense", "mixing", "preset")
LONGEST = 4096  # characters of an override; beyond, only the parser's recursion is a limit
FAILURES = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    RecursionError,
    OSError,
    ValueError,
)
SCHEDULE_KEYS = {"kind"} | {f.name for kind in KINDS.values() for f in dataclasses.fields(kind)}
ROLE_KEYS = {f"{group}.{name}" for group in ROLES for name in role_names(group)}
ROLE_KEYS |= {f"attack.schedule.{field.name}" for field in dataclasses.fields(AttackSchedule)}


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """The overrides in Hydra's grammar.

    Raises:
        ConfigError: not ``key=value``; a setting of Hydra itself; a resolver such as ``oc.env``.
    """
    for text in overrides:
        if len(text) > LONGEST:
            raise ConfigError(f"{shown(text)}: expected at most {LONGEST} characters.")
        _refuse_resolvers(text, text.partition("=")[0])
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except (OverrideParseException, RecursionError) as error:
        text = getattr(error, "override", None) or "?"
        detail = _first_line(error)
        why = "" if detail.startswith("Error parsing") else f": {detail}"
        meant = _choice_meant(text)
        message = f"{shown(text)}: expected key=value in Hydra's grammar{why}"
        raise ConfigError(f"{message}; did you mean {meant}?" if meant else message) from None
    for override in parsed:
        if not override.key_or_group:
            raise ConfigError(f"{override.input_line}: expected key=value, got no key.")
        if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            raise ConfigError(f"{override.input_line}: Hydra's own settings are not part of a run.")
    return parsed


def compose_tree(
    typed: Sequence[Override], home: Path, plugins: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str], set[str]]:
    """The resolved tree, the choice of each group, and the keys set by the experiment file.

    Raises:
        ConfigError: an unknown choice or key, a file that cannot be read, an open reference.
    """
    folders = config_folders(home, plugins)
    state = check_files(folders)
    _refuse_several_choices(typed)
    try:
        composed, choices = _merged(folders, state, [_for_any_rule(o) for o in typed])
        OmegaConf.set_struct(composed, False)
        for key, value in _leaves(OmegaConf.to_container(composed)):
            _refuse_resolvers(value, key)
        tree = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except UnknownKeyError as error:
        raise _unknown_key(error.key, error.tree) from None
    except FAILURES as error:
        raise _translated(error, folders, home) from None
    named = {group: choice for group, choice in choices.items() if choice is not None}
    written = _written_by(named.get("experiment"), folders)
    return tree, named, written  # type: ignore[return-value]


def _merged(
    folders: Sequence[Path], state: State, overrides: list[Override]
) -> tuple[DictConfig, dict[str, str | None]]:
    """As `merge`, and a parameter of a rule can be set although its yaml file does not list it."""
    for _ in range(len(overrides) + 1):
        try:
            return merge(folders, state, overrides)
        except UnknownKeyError as error:
            parent, _, name = error.key.rpartition(".")
            if name not in _parameters(_selected(error.tree, parent)):
                raise
            overrides = [
                dataclasses.replace(o, type=OverrideType.FORCE_ADD)
                if o.key_or_group == error.key
                else o
                for o in overrides
            ]
    raise AssertionError("each pass adds a key")


def _selected(tree: DictConfig, key: str) -> Any:
    """The node at ``key``; ``None`` where there is none."""
    try:
        return OmegaConf.select(tree, key) if key else tree
    except FAILURES:
        return None


def _parameters(node: Any) -> list[str]:
    """The parameters of a node's rule; none for a node without a rule, or with a forbidden one."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return []
    try:
        return list(parameters_of({"_target_": str(node["_target_"])}))
    except ConfigError:
        return []


def _refuse_several_choices(typed: Sequence[Override]) -> None:
    """Refuse ``attack=null``, and ``attack=[none,ipm]``, which would merge the settings of two."""
    for override in typed:
        value, group = override._value, override.key_or_group
        if group in GROUPS and value is None and not override.is_delete():
            expected = f"the name of a choice; omit {group} for its default"
            raise ConfigError(f"{override.input_line}: expected {expected}.")
        if group not in ONE_CHOICE or not isinstance(value, list) or len(value) < 2:
            continue
        hint = "; for each in turn use a grid"
        if group == "mixing":
            hint = (
                "; several in order are a file with a node each, as"
                " conf/mixing/nnm_bucketing.yaml: mixing=nnm_bucketing"
            )
        raise ConfigError(f"{override.input_line}: expected one choice of the group{hint}")


def config_folders(home: Path, plugins: Sequence[str]) -> list[Path]:
    """The folders that are searched for configuration files, in order."""
    return [*conf_folders(home), *(admit(plugin, home) / "conf" for plugin in plugins)]


def _for_any_rule(override: Override) -> Override:
    """Allow settings of a role and of the root also if no yaml file lists them.

    A choice that Hydra's grammar reads as a number, such as ``attack=inf``, becomes a name.
    """
    if override.key_or_group in GROUPS and isinstance(override._value, float):
        return dataclasses.replace(override, _value=str(override._value))
    group, _, name = override.key_or_group.rpartition(".")
    of_metric = group.startswith("observers.metrics.") and name in role_names("observers.metrics")
    known = override.key_or_group in ROLE_KEYS | schema_keys() or of_metric
    if override.type is OverrideType.CHANGE and known:
        return dataclasses.replace(override, type=OverrideType.FORCE_ADD)
    return override


@cache
def schema_keys(cls: type = Config, dot: str = "") -> frozenset[str]:
    """The dotted keys of all plain settings of the root, without those of nodes and groups."""
    keys: set[str] = set()
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            keys |= schema_keys(hint, f"{dot}{name}.")  # type: ignore[arg-type]
        elif dot and hint is not Any:
            keys.add(dot + name)
            if name == "schedule":
                keys |= {f"{dot}{name}.{inner}" for inner in SCHEDULE_KEYS}
    return frozenset(keys)


def _translated(error: Exception, folders: Sequence[Path], home: Path) -> ConfigError:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = sorted(error.options or [])
        has = f" Choices: {', '.join(options)}." if options else ""
        from_plugin = plugin_with(home, group, name) if group else ""
        close = "." if from_plugin else nearest(name, options)
        message = f"{group or 'conf'}: there is no '{name}'{close}{from_plugin}{has}"
        where = looked_in(folders, home) if group == "experiment" else ""
        return ConfigError(message + where)
    return ConfigError(_first_line(error))


def _choice_meant(text: str) -> str:
    """``attack=strike`` for ``strike``, by the installed files; empty for no choice."""
    folder = conf_folder(Path.cwd())
    for group in ("attack", "defense", "mixing", "task", "model", "partition", "experiment"):
        names = [path.stem for path in (folder / group).glob("*.yaml")]
        name = meaning(text, names)
        if name and name != "none":
            return f"{group}={name}"
    return f"{text}=NAME" if text in GROUPS else ""


def _unknown_key(key: str, tree: DictConfig) -> ConfigError:
    if key in GROUPS:
        return ConfigError(
            f"{key}: expected the name of a choice, as {key}=NAME; its settings are {key}.NAME."
        )
    parent, _, name = key.rpartition(".")
    node = _selected(tree, parent)
    settings = schema_keys() | ROLE_KEYS
    below_parent = {k.rpartition(".")[2] for k in settings if k.rpartition(".")[0] == parent}
    if node is None and parent in ("model", "partition"):
        of_task = f"; for the network of the task: task.{key}" if parent == "model" else ""
        return ConfigError(f"{key}: expected a choice beside it, as {parent}=NAME{of_task}.")
    if not isinstance(node, DictConfig) and not below_parent:
        return ConfigError(f"{key}: there is no such setting{nearest(key, settings)}")
    if not isinstance(node, DictConfig):
        known = f"{nearest(name, below_parent)} {parent} knows: {', '.join(sorted(below_parent))}."
        return ConfigError(f"{key}: there is no such setting{known}")
    own = [str(k) for k in node if k != "_target_"]
    names = list(
        dict.fromkeys([*own, *_parameters(node), *role_names(parent), *sorted(below_parent)])
    )
    owner = target_name(node) if "_target_" in node else parent or "The root"
    kind = "parameter" if "_target_" in node else "setting"
    below = _below(tree, name) if not parent else []
    meant_key = meaning(key, {*schema_keys(), *GROUPS, "rounds"})
    below = below or ([meant_key] if meant_key and meant_key != key else [])
    meant = f"; did you mean {' or '.join(below)}?" if below else nearest(name, names)
    return ConfigError(f"{key}: {owner} has no such {kind}{meant}{listed(names)}")


def _below(tree: DictConfig, name: str) -> list[str]:
    """The dotted keys that end in ``name``: ``nu=2`` may mean ``attack.nu=2``."""
    raw = OmegaConf.to_container(tree)
    return sorted({key for key, _ in _leaves(raw) if key.rpartition(".")[2] == name})


def _first_line(error: Exception) -> str:
    """The useful sentence of an exception: often that of its cause."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, RecursionError):
        return "nested too deeply."
    text = (
        str(cause) if isinstance(cause, yaml.YAMLError) else str(cause).strip().partition("\n")[0]
    )
    # Under a debugger or coverage, OmegaConf chains its errors and the cause has no key.
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    return f"{key}: {text}" if key and key not in text else text


def _refuse_resolvers(value: Any, key: str) -> None:
    if isinstance(value, str) and re.search(r"\$\{[^}]*:", value):
        expected = "a plain value or a reference such as ${task.rounds}"
        raise ConfigError(f"{key}: expected {expected}, got {shown(value)}.")


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping | list):
        for name, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _leaves(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _written_by(experiment: str | None, folders: Sequence[Path]) -> set[str]:
    files = [folder / "experiment" / f"{experiment}.yaml" for folder in folders if experiment]
    found = next((file for file in files if file.is_file()), None)
    return {key for key, _ in _leaves(read_yaml(found))} if found else set()
