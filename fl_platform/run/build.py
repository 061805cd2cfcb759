"""The objects of a run from its configuration: data, model, roles, module."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from fl_platform.config import Config, ConfigError, build_rule, data_node, flat
from fl_platform.config.schema import Local, Runtime, attack_schedule, role, schedule_of
from fl_platform.core.file_stats import stamps
from fl_platform.core.rng import stream_seed
from fl_platform.data import (
    DataError,
    Dataset,
    Partition,
    deal,
    divide,
    hold_out,
    set_aside,
    subset,
)
from fl_platform.federated import (
    Aggregator,
    FederatedModule,
    Federation,
    LocalTraining,
    Samples,
    adversary,
)
from fl_platform.federated.callbacks.roles import rule_name
from fl_platform.federated.client_training import Choice, WayName, choose
from fl_platform.federated.sampling import byzantine_clients
from fl_platform.run.early import missing_gpu
from fl_platform.run.naming import run_name
from fl_platform.run.refusals import build_network, build_rules, refused, with_key

Module = TypeVar("Module", bound=FederatedModule)


@dataclass(frozen=True)
class Population:
    """The data of a run, split over its clients.

    Attributes:
        source: the node of the data set, with its folder resolved.
        dataset: the loaded data without validation samples.
        partition: the training samples of each client.
        federation: the clients' samples.
        held_out: evaluation sets by name: ``test``, and ``validation`` if there is one.
        root: the server's own samples, as those of one client, if it has any.
    """

    source: dict[str, Any]
    dataset: Dataset
    partition: Partition
    federation: Federation
    held_out: dict[str, Samples]
    root: Federation | None = None


def load_population(config: Config, home: Path) -> Population:
    """Load the task's data and split it; a relative ``root`` of the data is below ``home``.

    Raises:
        DataError: missing, damaged or too few data.
        ConfigError: data that do not fit the configuration.
    """
    with refused("task.data"):
        source = data_node(config, home)
        dataset = load_dataset(source)
    if config.task.samples is not None:
        dataset = subset(dataset, config.task.samples, config.data_seed)
    dataset, images, labels = hold_out(dataset, config.task.validation, config.data_seed)
    samples = functools.partial(Samples, mean=dataset.mean, std=dataset.std)
    root = None
    if config.task.root_samples is not None:
        dataset, root_images, root_labels = set_aside(
            dataset, config.task.root_samples, config.data_seed
        )
        whole = torch.arange(len(root_labels))
        root = Federation(samples(root_images, root_labels), (whole,), dataset.num_classes)
    partition = build_partition(config, dataset)
    held_out = {"test": samples(dataset.test_images, dataset.test_labels)}
    if len(labels):
        held_out["validation"] = samples(images, labels)
    with refused("task.partition"):
        federation = Federation(
            samples(dataset.train_images, dataset.train_labels),
            partition.indices,
            dataset.num_classes,
            partition.idle,
        )
    return Population(source, dataset, partition, federation, held_out, root)


def build_partition(config: Config, dataset: Dataset) -> Partition:
    """The partition of the training samples over clients.

    Raises:
        DataError, ConfigError: one line that names a key.
    """
    task, byzantine, seed = config.task, config.byzantine, config.data_seed
    how: Any = task.partition if isinstance(task.partition, str) else build_rule(task.partition)
    taken = [name for name in ("samples", "validation", "root_samples") if getattr(task, name)]
    reasons = "".join(f" task.{name}={getattr(task, name)} leaves fewer images." for name in taken)

    def split(clients: int | None) -> Partition:
        with refused("task.partition"):
            try:
                return divide(dataset, how, clients, seed, beta=task.beta, minimum=task.minimum)
            except DataError as error:
                raise DataError(f"{with_key('task.partition', str(error))}{reasons}") from None

    if task.clients is None or byzantine.data == "share":
        return split(task.clients)
    members = byzantine_clients(task.clients, byzantine.share, config.seed)
    return deal(split, task.clients, members, byzantine.data, dataset.train_labels, seed)


def load_dataset(node: Mapping[str, Any]) -> Dataset:
    """The data set of a `data_node`, cached while its files are unchanged, for the runs of a grid.

    Raises:
        DataError: missing or damaged data, or data with another digest.
    """
    key = json.dumps(node, sort_keys=True)  # lists of means are not hashable
    dataset = _load(key)
    if dataset.files == stamps(Path(path) for path, *_ in dataset.files):
        return dataset
    _load.cache_clear()
    return _load(key)


@functools.lru_cache(maxsize=1)
def _load(node: str) -> Dataset:
    return build_rule(json.loads(node))()


def build_model(config: Config, dataset: Dataset) -> nn.Module:
    """The task's network with initial weights from the stream ``model`` of the seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(stream_seed(config.seed, "model"))
        return build_network(config, dataset)


def choose_local(config: Config, device: torch.device, dataset: Dataset) -> Choice:
    """The client trainer of this run; a function of its configuration and device."""
    with torch.device("meta"):
        model = build_network(config, dataset)
    local, shape = config.task.local, dataset.image_shape
    augments = local_training(local).augments
    if augments and len(shape) != 3:
        key, expected = ("crop", "0") if local.crop else ("flip", "false")
        raise ConfigError(f"task.local.{key}: expected {expected} for inputs {shape}, no images.")
    if augments and local.crop >= min(shape[1:]):  # beyond, some crops see no pixel of the image
        side = min(shape[1:])
        raise ConfigError(
            f"task.local.crop: expected below {side}, the shorter side of the images, got"
            f" {local.crop}."
        )
    with refused("runtime.local"):
        return choose(config.runtime.local, device, model, shape, local.batch, augments=augments)


def build_roles(config: Config) -> list[Any]:
    """The aggregator, and the adversary if there is an attack."""
    attack, mixings, rule = build_rules(config)
    defense, plays = role(config.defense, "defense"), role(config.attack, "attack")
    options = {"on_excess_f": defense.on_excess_f, "assumed_f": defense.assumed_f}
    with refused("defense", TypeError):
        roles: list[Any] = [Aggregator(rule, mixings, **options)]
    if rule_name(attack) != "none":
        with refused("attack", TypeError):
            schedule = attack_schedule(plays.schedule)
            roles.append(adversary(attack, knowledge=plays.knowledge, schedule=schedule))
    return roles


def build_callbacks(config: Config, folder: Path) -> list[Callback]:
    """The callbacks of the configuration; ``folder`` parameters receive the artifacts' folder."""
    callbacks: list[Callback] = []
    for name, node in config.callbacks.items():
        with refused("callbacks"):
            built: Any = build_rule(node, config.seed, folder=folder)
        if hasattr(built, "monitor_key"):
            built.monitor_key = f"callbacks.{name}.monitor"
        callbacks.append(built)
    return callbacks


def build_loggers(config: Config, folder: Path) -> list[Logger]:
    """The loggers of the configuration, each with the run's parameters logged."""
    with refused("loggers"):
        loggers = [
            cast("Logger", build_rule(node, config.seed, folder=folder, name=run_name(config)))
            for node in config.loggers.values()
        ]
    for logger in loggers:
        logger.log_hyperparams(flat(config))
    return loggers


def build_module(
    config: Config,
    population: Population,
    between: Callable[[], None],
    way: WayName = "sequential",
    kind: type[Module] = FederatedModule,  # type: ignore[assignment]
) -> Module:
    """The Lightning module of the run, of that ``kind``."""
    module = kind(
        build_model(config, population.dataset),
        population.federation,
        local_training(config.task.local),
        byzantine=config.byzantine.share,
        sampled=config.task.sampled,
        sampling=config.byzantine.sampling,
        state=config.task.state,
        seed=config.seed,
        server=functools.partial(server_optimizer, config),
        server_schedule=schedule_of(config.server.schedule),
        worker_momentum=config.worker.momentum,
        worker_dampening=config.worker.dampening,
        worker_clients=config.worker.clients,
        should_stop=between,
        way=way,
        root=population.root,
    )
    module.save_hyperparameters({}, logger=False)  # loggers receive the whole configuration
    return module


def local_training(local: Local) -> LocalTraining:
    """The settings of the clients' SGD."""
    settings = vars(local) | {"epochs": local.epochs or 1, "schedule": schedule_of(local.schedule)}
    return LocalTraining(**settings)


def server_optimizer(config: Config, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The server's optimizer, with the aggregate as gradient.

    SGD at rate 1 is federated averaging (eq. 3); with momentum it is FedAvgM (Hsu, Qi and Brown,
    "Measuring the Effects of Non-Identical Data Distribution", 2019). FedAdam is Adam on the
    aggregate (Reddi et al., "Adaptive Federated Optimization", 2021); torch's Adam corrects the
    bias of its moments, which theirs does not. ``server.weight_decay`` adds that share of the
    parameters to the aggregate, before any momentum.
    """
    server = config.server
    if server.optimizer == "fedadam":
        betas = (server.beta1, server.beta2)
        return torch.optim.Adam(
            parameters, server.lr, betas, server.eps, weight_decay=server.weight_decay
        )
    momentum = server.momentum if server.optimizer == "fedavgm" else 0.0
    return torch.optim.SGD(parameters, server.lr, momentum, weight_decay=server.weight_decay)


def resolve_device(runtime: Runtime) -> torch.device:
    """The device of a run: ``auto`` is the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: a GPU that this machine does not have, or a precision that the device lacks.
    """
    wanted = runtime.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if runtime.precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"runtime.precision: expected a CUDA device for tf32, got {device.type};"
            " use 32-true or bf16-mixed."
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise missing_gpu(wanted, count)
    return device
