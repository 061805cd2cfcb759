"""Hydra's reading and merging of yaml files, without the node of Hydra's own settings.

That node takes nine tenths of the time of a composition and is not part of a run. Hydra has no
public way to omit it, so this file, and no other, uses Hydra's internals; a test compares the
result with the public ``hydra.compose``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from fl_platform.config.errors import ConfigError
from fl_platform.core.outside import OutsideError, read_file


class UnknownKeyError(Exception):
    """An override of ``key``, which is not in ``tree``."""

    def __init__(self, key: str, tree: DictConfig) -> None:
        super().__init__(key)
        self.key, self.tree = key, tree


def merge(
    folders: Sequence[Path], state: State, overrides: Sequence[Override]
) -> tuple[DictConfig, dict[str, str | None]]:
    """``config.yaml`` of ``folders`` with its groups and overrides, and the choice in each group.

    ``state`` is the state of the files: an unchanged file is not read again.

    Raises:
        UnknownKeyError: an override of an unknown key.
        HydraException, OmegaConfBaseException, yaml.YAMLError: other faults, unchanged.
    """
    with _without_environment():
        loader = _loader(tuple(folders), state)
        files = CachingConfigRepository(loader.repository)
        plan = create_defaults_list(
            files, "config", list(overrides), prepend_hydra=False, skip_missing=False
        )
        tree = loader._compose_config_from_defaults_list(plan.defaults, files)
        OmegaConf.set_struct(tree, True)  # from here on an unknown key is an error
        try:
            loader._apply_overrides_to_config(plan.config_overrides, tree)
        except ConfigCompositionException as error:
            missed = re.match(r"Could not override '([^']+)'", str(error))
            raise UnknownKeyError(missed[1], tree) if missed else error from error.__cause__
    return tree, dict(plan.overrides.known_choices)


def choice_parser(folders: Sequence[Path], state: State) -> OverridesParser:
    """A parser of overrides with the choices of each group, for ``glob(*)``."""
    return OverridesParser.create(config_loader=_loader(tuple(folders), state))


class _Parsed(ConfigRepository):
    """Every file, parsed once; merging modifies its input, so it receives a copy."""

    def __init__(self, search: ConfigSearchPathImpl) -> None:
        super().__init__(search)
        self._files: dict[str, ConfigResult | None] = {}

    def __deepcopy__(self, memo: object) -> _Parsed:
        return self  # Hydra copies its repository for each composition; this one is not copied

    def load_config(self, config_path: str) -> ConfigResult | None:
        if ".." in config_path.split("/"):
            raise ValueError(f"{config_path}: expected a file inside conf/.")
        if config_path not in self._files:
            self._files[config_path] = super().load_config(config_path)
        return deepcopy(self._files[config_path])


@lru_cache(maxsize=8)
def _loader(folders: tuple[Path, ...], state: State) -> ConfigLoaderImpl:
    version.setbase("1.3")
    Plugins.instance()  # registers the source type that reads files
    search = ConfigSearchPathImpl()
    for folder in folders:
        search.append("main", folder.as_uri())
    search.append("schema", "structured://")
    loader = ConfigLoaderImpl(search)
    loader.repository = _Parsed(search)
    return loader


@contextmanager
def _without_environment() -> Iterator[None]:
    """Block the environment: no value can be read, not even into an error message."""
    OmegaConf.clear_resolver("oc.env")
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


State = tuple[tuple[Path, int], ...]  # every file and its time of change

GROUPS = (
    *("task", "model", "partition", "local", "attack", "defense", "mixing", "preset"),
    *("observers", "observers/metrics", "callbacks", "loggers", "experiment"),
)
QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
COMMENT = re.compile(r"(^|\s)#.*")
# Nested aliases can expand to gigabytes before they are refused.
ALIAS = re.compile(r"(?:^|[\s\[{,])[&*]\w")
# The parser reads 010 as eight.
OCTAL = re.compile(r"(?:^|[\s\[{,])[-+]?0[0-9_]+(?=$|[\s\]},])")


def check_files(folders: Sequence[Path]) -> State:
    """Check every file in ``folders``, again only after a change; their state.

    Raises:
        ConfigError: an anchor or alias, a number with a leading zero, or a file over 64 KiB.
    """
    state = []
    for file in (file for folder in folders for file in folder.rglob("*.yaml")):
        status = file.stat()
        fault = _fault(file, status.st_mtime_ns)
        if fault:
            raise ConfigError(fault)
        state.append((file, status.st_mtime_ns))
    return tuple(sorted(state))


@lru_cache(maxsize=4096)
def _fault(file: Path, changed: int) -> str:
    try:
        lines = read_file(file, "yaml", follow=True).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        return f"{file}: expected UTF-8, got: {error}"
    except OutsideError as error:
        return str(error)
    for number, line in enumerate(lines, start=1):
        bare = COMMENT.sub("", QUOTED.sub("''", line))
        if ALIAS.search(bare):
            return f"{file}: line {number}: expected values written out, got an anchor or alias."
        if OCTAL.search(bare):
            problem = "expected a number without leading zero, or quotes around it"
            return f"{file}: line {number}: {problem}."
    return ""
