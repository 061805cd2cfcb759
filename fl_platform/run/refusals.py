"""Checks that require data and network, before round 1: a refusal is one line with its key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fl_platform.config import Config, ConfigError, build_rule
from fl_platform.data import DataError, Dataset
from fl_platform.federated import Federation

_KEYED = re.compile(r"[a-z_]+(\.\w+)*: ")  # a message that already names its key


@contextmanager
def refused(key: str, *also: type[Exception]) -> Iterator[None]:
    """Turn a ``ValueError`` of the part at ``key`` into one line that names the key.

    Args:
        also: further exceptions with a message for the user.

    Raises:
        ConfigError: the key and the message of the part; a `DataError` is not changed.
    """
    user_errors: tuple[type[Exception], ...] = (ValueError, *also)
    try:
        yield
    except (ConfigError, DataError):
        raise
    except user_errors as error:
        raise with_key(key, str(error)) from None


def with_key(key: str, message: str) -> ConfigError:
    """The refusal of the part at ``key``, unless its ``message`` already names a key."""
    return ConfigError(message if _KEYED.match(message) else f"{key}: {message}")


def build_network(config: Config, dataset: Dataset) -> nn.Module:
    """The task's network for these data, on torch's default device.

    Raises:
        ConfigError: a network that cannot be built for inputs of this shape.
    """
    build, shape = build_rule(config.task.model), dataset.image_shape
    with refused("task.model"):
        try:
            network: nn.Module = build(dataset.num_classes, shape)
        except (TypeError, IndexError, ValueError) as error:
            if len(shape) == 3:
                raise
            name = str(config.task.model.get("_target_")).rpartition(".")[2]
            problem = (
                str(error) if name in str(error) else f"{name} cannot be built for inputs {shape}"
            )
            raise ConfigError(f"task.model: {problem}; choose another with model=NAME.") from None
    return network


def check_network(config: Config, dataset: Dataset, federation: Federation) -> None:
    """Refuse a network that cannot be trained on these data.

    Raises:
        ConfigError: a network that does not accept the inputs, does not return a score per class,
            or normalises over batches of one sample.
    """
    with torch.device("meta"):
        network = build_network(config, dataset)
    _check_batches(config, network, federation)
    tokens = dataset.train_images.dtype == torch.int64
    try:
        if tokens:  # only a real pass detects a token beyond the vocabulary
            raise NotImplementedError
        scores = network(_inputs(dataset, torch.device("meta")))
    except Exception:  # also raised by operations without meta tensors: try a real pass
        with torch.random.fork_rng([]):
            network = build_network(config, dataset)
            scores = _scores(network, dataset, config)
    if scores.shape != (2, dataset.num_classes):
        raise ConfigError(
            f"task.model: expected {dataset.num_classes} scores per sample, one for each class,"
            f" got outputs of shape {tuple(scores.shape)} for 2 samples."
        )


def _scores(network: nn.Module, dataset: Dataset, config: Config) -> Tensor:
    with torch.no_grad():
        try:
            outputs: Tensor = network(_inputs(dataset, torch.device("cpu")))
        except IndexError:
            raise ConfigError(
                "task.model.vocabulary: expected more than the largest token of the data,"
                f" {_largest_token(dataset)}; raise it."
            ) from None
        except (RuntimeError, TypeError, ValueError) as error:
            name = str(config.task.model.get("_target_")).rpartition(".")[2]
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"task.model: {name} does not take inputs of shape {dataset.image_shape}"
                f" ({reason}); choose another with model=NAME."
            ) from None
    return outputs


def _inputs(dataset: Dataset, device: torch.device) -> Tensor:
    """Two inputs of the data's shape and type, zeros or the largest token."""
    shape = (2, *dataset.image_shape)
    if dataset.train_images.dtype == torch.int64:
        return torch.full(shape, _largest_token(dataset), device=device)
    return torch.zeros(shape, device=device)


def _largest_token(dataset: Dataset) -> int:
    return max(int(dataset.train_images.max()), int(dataset.test_images.max()))


def _check_batches(config: Config, network: nn.Module, federation: Federation) -> None:
    """Refuse a batch of one sample, over which batch normalisation has no variance."""
    if not any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        return
    why = "for a network with batch normalisation, which has no variance over one sample"
    instead = "or take a network without it (model.norm=group)"
    if config.task.local.batch == 1:
        raise ConfigError(
            f"task.local.batch: expected at least 2 {why}, got 1; raise it, {instead}."
        )
    sizes = [len(own) for own in federation.clients]
    single = [i for i, size in enumerate(sizes) if size == 1]
    if single:
        raise ConfigError(
            f"task.minimum: expected clients of at least 2 samples {why}, got client"
            f" {single[0]} with 1; raise it, lower task.clients, {instead}."
        )
