"""Refusals before slow imports: data and GPU without torch, then the rules without Lightning."""

from __future__ import annotations

import os
from pathlib import Path

from fl_platform.config import Config, ConfigError, data_node, refuse_missing_data, target_name
from fl_platform.core.gpus import known_gpus
from fl_platform.data.locate import refuse_missing_folder


def refuse_early(config: Config, home: Path, *, here: bool = True) -> None:
    """Refuse a run that cannot start; what only its data can tell is refused later, in `run`.

    Args:
        config: configuration of the run.
        home: workspace: the folder of relative data roots.
        here: whether this machine executes the run, so that it must have the GPU.

    Raises:
        ConfigError: a missing data file or GPU, or what `refuse_settings` refuses.
        DataError: a missing folder of a data set.
    """
    refuse_missing(config, home, here=here)
    refuse_settings(config)


def refuse_settings(config: Config) -> None:
    """Refuse settings without effect, and rules that cannot run, where the settings name n.

    The rules import torch.

    Raises:
        ConfigError: a changed setting that the server's optimizer does not use, and as for
            `refusals.refuse_rules`.
    """
    try:
        config.server.refuse_unused()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.task.clients is not None:
        from fl_platform.run.refusals import refuse_rules

        refuse_rules(config, config.task.clients)


def refuse_missing(config: Config, home: Path, *, here: bool = True) -> None:
    """Refuse missing data and GPUs without an import of torch; arguments as for `refuse_early`."""
    if here:
        refuse_missing_gpu(config.runtime.device)
    refuse_missing_data(config, home)
    node = data_node(config, home)
    if str(node["_target_"]).startswith("fl_platform."):
        refuse_missing_folder(target_name(node), node)


def refuse_missing_gpu(device: str) -> None:
    """Refuse ``cuda`` and ``cuda:N`` on a machine that certainly has no such GPU.

    Raises:
        ConfigError: fewer GPUs than ``device`` expects.
    """
    name, _, index = device.partition(":")
    found = known_gpus(os.environ) if name == "cuda" else None
    if found is not None and int(index or 0) >= len(found):
        raise missing_gpu(device, len(found))


def missing_gpu(device: str, count: int) -> ConfigError:
    """The refusal of a GPU that is not among the ``count`` of this machine."""
    if not count:
        expected = "cpu or auto, as torch finds no GPU on this machine"
        return ConfigError(f"runtime.device: expected {expected}; got {device}.")
    last = f"at most cuda:{count - 1}"
    return ConfigError(f"runtime.device: expected {last}, got {device}; use cpu or auto.")
