"""Checks of rules, data and network before round 1: a refusal is one line with its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fl_platform.config import Config, ConfigError, build_rule, target_name
from fl_platform.config.schema import role
from fl_platform.config.targets import PACKAGES
from fl_platform.core import Updates
from fl_platform.core.context import FIELDS, Context
from fl_platform.core.rule import is_agnostic
from fl_platform.data import DataError, Dataset
from fl_platform.defenses.chain import Chain
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


def build_rules(config: Config) -> tuple[Callable[..., Any], list[Any], Callable[..., Any]]:
    """The attack, the mixings and the defense of a run.

    Raises:
        ConfigError: settings that a rule refuses, or an attack of clients without data.
    """
    with refused("mixing"):
        mixings = [build_rule(node, config.seed) for node in config.mixing]
    with refused("defense", TypeError):
        rule = build_rule(config.defense, config.seed)
    with refused("attack"):
        attack = build_rule(config.attack, config.seed)
    trains = is_agnostic(attack) or role(config.attack, "attack").knowledge == "own"
    if config.byzantine.data == "none" and trains:
        raise ConfigError(
            f"byzantine.data: expected share or iid for attack={target_name(config.attack)}, whose"
            " clients train on their own data, got 'none'."
        )
    return attack, mixings, rule


def refuse_rules(config: Config, clients: int) -> None:
    """Refuse numbers of clients and rules with which no round can be computed; reads no data.

    With sampled participants, ``on_excess_f`` is applied in each round instead.

    Raises:
        ConfigError: more Byzantine clients than the defense tolerates, a rule without the context
            that it requires, or a setting that a rule of this project refuses.
    """
    task, f, known = config.task, config.byzantine.number(clients), role(config.defense, "defense")
    if task.sampled is not None and task.sampled > clients:
        most = f"at most {clients}, all clients"
        raise ConfigError(f"task.sampled: expected {most}, got {task.sampled}.")
    _, mixings, rule = build_rules(config)
    with refused("byzantine"):
        config.byzantine.refuse_majority(clients, f"{clients} clients")
        config.refuse_idle(clients)
    chain = Chain(rule, mixings)
    with refused("defense", TypeError):
        chain.refuse_parts(set(FIELDS) - ({"reference"} if task.root_samples is None else set()))
    told, rows = f if known.assumed_f is None else known.assumed_f, clients
    if task.sampled is None or task.sampled == clients:
        with refused(config.byzantine.key if known.assumed_f is None else "defense.assumed_f"):
            chain.refuse_excess(clients, told)
    else:
        rows = task.sampled
        told = config.byzantine.drawn(clients, rows) if known.assumed_f is None else told
    if target_name(config.attack) == "absent":
        rows -= f if rows == clients else config.byzantine.drawn(clients, rows)
    own, nodes = PACKAGES["defense"] + ".", [*config.mixing, config.defense]
    if all(str(node["_target_"]).startswith(own) for node in nodes):
        has_weights(config, max(rows, 1), told)  # others may expect another dimension


def has_weights(config: Config, rows: int, f: int) -> bool:
    """Whether the defense weights updates: tried on equal ones, of four coordinates.

    Raises:
        ConfigError: a setting that a rule refuses when it is called, such as too many subsets.
    """
    rooted = config.task.root_samples is not None
    key = repr((config.mixing, config.defense, rooted, rows, f))  # the same for cells of a grid
    if key not in _TRIED:
        with refused("defense"):
            *mixings, rule = [build_rule(node) for node in (*config.mixing, config.defense)]
            _TRIED[key] = _tried(Chain(rule, mixings), rows, f, rooted=rooted)
    return _TRIED[key]


_TRIED: dict[str, bool] = {}


def _tried(chain: Chain, rows: int, f: int, *, rooted: bool) -> bool:
    context = Context(
        clients=torch.arange(rows),
        round=0,
        sizes=torch.ones(rows),
        losses=torch.ones(rows),
        reference=torch.ones(4) if rooted else None,
        model=torch.zeros(4),
        layers=(4,),
    )
    updates = Updates(torch.ones(rows, 4))
    return chain(updates, min(f, chain.largest_f(rows)), context=context).weights is not None


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
