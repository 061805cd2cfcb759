"""Configuration: files and overrides, checked against signatures and identified by a hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_platform.core.lazy import lazy

if TYPE_CHECKING:
    from fl_platform.config.compose import compose
    from fl_platform.config.errors import ConfigError
    from fl_platform.config.identity import (
        canonical,
        config_hash,
        differences,
        flat,
        setting_hash,
    )
    from fl_platform.config.paths import (
        conf_folder,
        conf_folders,
        data_node,
        find_home,
        looked_in,
        plugin_with,
        refuse_missing_data,
    )
    from fl_platform.config.rules import build_rule
    from fl_platform.config.schema import AttackRole, Config, DefenseRole, role
    from fl_platform.config.sweep import expand
    from fl_platform.config.targets import target_name

__all__ = [
    "AttackRole",
    "Config",
    "ConfigError",
    "DefenseRole",
    "build_rule",
    "canonical",
    "compose",
    "conf_folder",
    "conf_folders",
    "config_hash",
    "data_node",
    "differences",
    "expand",
    "find_home",
    "flat",
    "looked_in",
    "plugin_with",
    "refuse_missing_data",
    "role",
    "setting_hash",
    "target_name",
]

lazy(__name__)
