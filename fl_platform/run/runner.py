"""The steps of one run: config -> data -> model -> roles -> trainer -> result."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fl_platform.config import Config, config_hash, flat
from fl_platform.core.native import kernels
from fl_platform.core.precision import deterministic, tensor_float32
from fl_platform.core.process import Stopped, Stopper
from fl_platform.federated import Diverged, FederatedModule
from fl_platform.federated.callbacks.checkpointing import Commit
from fl_platform.federated.callbacks.further_scores import FurtherScores
from fl_platform.federated.callbacks.metrics import Evaluator, Scorer, build_observers
from fl_platform.federated.callbacks.monitors import stopped_early
from fl_platform.federated.callbacks.progress import ProgressLine
from fl_platform.federated.callbacks.roles import AgnosticAdversary, RefusedByRule
from fl_platform.federated.evaluation import Score, evaluate
from fl_platform.federated.throughput import Throughput
from fl_platform.run import provenance
from fl_platform.run.build import (
    Population,
    build_callbacks,
    build_loggers,
    build_module,
    build_roles,
    choose_local,
    load_population,
    resolve_device,
)
from fl_platform.run.data_sets import data_sets
from fl_platform.run.lookup import remember, stored
from fl_platform.run.naming import run_name, run_tags
from fl_platform.run.outputs import summary, write_artifacts
from fl_platform.run.refusals import check_network, refuse_rules, refused, with_key
from fl_platform.run.result import Result
from fl_platform.run.saved_model import add_model, refuse_export, write_model
from fl_platform.tracking.active_run import ActiveRun, Status
from fl_platform.tracking.lightning import DigestCheckpointIO, JournalLogger


def run(
    config: Config,
    home: Path,
    *,
    parent_run_id: str = "",
    callbacks: Sequence[Callback] = (),
    stopper: Stopper | None = None,
) -> Result:
    """Run ``config`` to its end, starting from the last checkpoint if there is one.

    A finished run is not repeated: its stored result is returned. SIGTERM and SIGINT end the run
    after a round with a checkpoint; the same call then continues.

    Args:
        config: configuration of the run.
        home: folder of ``mlruns/`` and of relative data roots.
        parent_run_id: id of the parent run: a grid, study or suite.
        callbacks: further Lightning callbacks; if one sets ``trainer.should_stop``, the run ends as
            KILLED with a checkpoint, as after a signal.
        stopper: handler of signals, for a caller that asks afterwards which one came.

    Raises:
        ConfigError: a check that requires device and data: more Byzantine clients than the defense
            tolerates, more participants than clients, a client trainer that this device lacks.
        RunOwned: another process is running this run.
        IdentityMismatch: an unfinished run in the folder with other conditions, or a finished one
            of other data.
        CheckpointError: no intact checkpoint of the run.
    """
    if not config.runtime.fresh and (result := stored(config, home)) is not None:
        add_model(config, home)
        return result
    started = time.perf_counter()
    torch.set_num_threads(config.runtime.threads)
    device = resolve_device(config.runtime)
    free_earlier_runs(device)
    population = checked_population(config, home)
    choice = choose_local(config, device, population.dataset)
    with (
        tensor_float32(config.runtime.precision == "tf32"),
        deterministic(config.runtime.deterministic),
        stopper or Stopper() as stopper,
        ActiveRun.open(
            home,
            name=run_name(config),
            config_hash=config_hash(config),
            experiment=config.experiment or config.task.name,
            conditions=conditions(config, device, population, choice.way),
            tracking=config.runtime.tracking,
            parent_run_id=parent_run_id,
            fresh=config.runtime.fresh,
            continue_anyway=config.runtime.continue_anyway,
        ) as record,
    ):
        known = data_sets(config, population)
        record.start(params=flat(config), tags=tags(config, population), datasets=known)
        remember(home, population.source, population.dataset.files, population.dataset.digest)
        between = stopper.between_clients
        module: FederatedModule = build_module(config, population, between, choice.way)
        score = functools.partial(
            evaluate,
            batch=config.runtime.evaluation_batch,
            channels_last=choice.way == "channels_last",
        )
        evaluation = Evaluator(population.held_out, config.evaluation.every, score)
        observers = [evaluation, *further_scores(config, population)]
        observers += build_observers(config, record.folder.artifacts)
        asked = build_callbacks(config, record.folder.artifacts)
        observers += [Throughput(), *asked, *callbacks]
        trainer = build_trainer(config, device, record, stopper, observers)
        status, reason = fit(trainer, module, record, stopper, asked)
        if status in ("FINISHED", "DIVERGED"):
            for path in write_artifacts(config, record, population, module):
                record.publish(path)
        scores = evaluation.scores
        if status == "FINISHED" and not scores:  # killed after its last round: no round is left
            scores = score_again(trainer, module, population, score)
        if status == "FINISHED" and config.runtime.saves_model:
            entry = write_model(config, record.folder, population, module.model, scores["test"])
            record.publish_model(entry)
        own = summary(record.journal.history, scores, module.model.state_dict(), config)
        own |= {"seconds": time.perf_counter() - started, "reason": reason}
        outcome = record.finish(status, own, reason=reason, tail=config.evaluation.tail)
        return Result.from_json({"name": record.described["name"], **outcome})


def checked_population(config: Config, home: Path) -> Population:
    """The data and clients of a run whose rules, network and export accept them."""
    build_roles(config)
    if config.task.clients is not None:  # known before the data are read
        refuse_rules(config, config.task.clients)
    population = load_population(config, home)
    if config.task.clients is None:
        refuse_rules(config, len(population.federation))
    check_network(config, population.dataset, population.federation)
    refuse_labels(config, population.dataset.num_classes)
    refuse_export(config, population)
    return population


def further_scores(config: Config, population: Population) -> list[Callback]:
    """The observer of ``evaluation.scores``, if there are any."""
    scores, every = config.evaluation.scores, config.evaluation.every
    return [FurtherScores(population.held_out, every, scores)] if scores else []


def score_again(
    trainer: Trainer, module: FederatedModule, population: Population, score: Scorer
) -> dict[str, Score]:
    """The scores of the final network on each evaluation set."""
    classes = population.dataset.num_classes
    with trainer.precision_plugin.forward_context():
        return {
            name: score(module.model, samples.to(module.device), classes)
            for name, samples in population.held_out.items()
        }


def free_earlier_runs(device: torch.device) -> None:
    """Free the GPU memory of earlier runs of this process; does nothing on a CPU.

    A module and its trainer refer to each other, so their tensors are kept until Python's garbage
    collector runs, which counts objects, not bytes: a worker would keep the memory of all its runs.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def refuse_labels(config: Config, num_classes: int) -> None:
    """Refuse an attack on labels whose settings do not fit the classes of the data."""
    for attack in build_roles(config)[1:]:
        change = attack.relabel(num_classes) if isinstance(attack, AgnosticAdversary) else None
        if change is not None:
            with refused("attack"):
                change(torch.arange(num_classes))


def conditions(
    config: Config, device: torch.device, population: Population, way: str
) -> dict[str, Any]:
    """The conditions of a run: everything beside its configuration that may change its bits."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    dtype = torch.float64 if config.runtime.precision == "64-true" else torch.float32
    on_processor = {} if device.type == "cuda" else provenance.instructions()
    return {
        "device": name,
        "threads": config.runtime.threads,
        "precision": config.runtime.precision,
        "deterministic": config.runtime.deterministic,
        "local": way,
        "evaluation_batch": config.runtime.evaluation_batch or "auto",
        "kernels": "compiled" if kernels.decide_bits(dtype) else "eager",
        "data_digest": population.dataset.digest,
        "partition_digest": population.partition.digest,
        **on_processor,
        **provenance.code(config),
        **provenance.versions(),
    }


def tags(config: Config, population: Population) -> dict[str, Any]:
    """Tags for searching and grouping runs, with the provenance of data and code."""
    commit, dirty = provenance.git_state()
    return {
        **run_tags(config),
        "commit": commit,
        "dirty": str(dirty).lower(),
        "processor": provenance.processor(),
        "partition_moved": population.partition.moved,
        "data_notes": " ".join(population.dataset.notes),
    }


def build_trainer(
    config: Config,
    device: torch.device,
    record: ActiveRun,
    stopper: Stopper,
    observers: list[Any],
) -> Trainer:
    """Lightning's trainer: one epoch of one step per round; only the loop is automatic."""
    callbacks, precision = [*build_roles(config), *observers], config.runtime.precision
    if config.runtime.progress != "none":
        live = {"bar": True, "plain": False}.get(config.runtime.progress)
        callbacks.append(ProgressLine(run_name(config), live=live))
    callbacks.append(Commit(record, stopper))
    # A run is one process. In one with RANK=1, of torchrun or srun, Lightning would log nothing.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # an attribute of the function
    with _quiet():
        return Trainer(
            max_epochs=config.rounds,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="32-true" if precision == "tf32" else precision,
            logger=[
                JournalLogger(record.journal, name=run_name(config), version=record.run_id),
                *build_loggers(config, record.folder.artifacts),
            ],
            log_every_n_steps=1,
            callbacks=callbacks,
            # Lightning's SLURM environment would requeue the job, save a second checkpoint, and
            # resume from any hpc_ckpt_*.ckpt in the working directory.
            plugins=[DigestCheckpointIO(record.checkpoint), LightningEnvironment()],
            default_root_dir=record.folder.path,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def fit(
    trainer: Trainer,
    module: FederatedModule,
    record: ActiveRun,
    stopper: Stopper,
    configured: Sequence[Callback] = (),
) -> tuple[Status, str]:
    """Train from the last commit, if any, to the end: the run's status and the reason for it.

    A ``configured`` callback is part of the run, so that its early stop is the run's end.
    """
    resume = record.checkpoint.path if record.checkpoint.exists() else None
    # Lightning loads a checkpoint before it converts the model, which would round float64
    trainer.precision_plugin.convert_module(module)
    try:
        with _quiet():
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except Diverged as reason:
        return "DIVERGED", str(reason)
    except RefusedByRule as refusal:
        raise with_key(refusal.group, str(refusal)) from None
    except (Stopped, SIGTERMException):  # by Lightning's handler, if it ran first
        return "KILLED", f"stopped inside a round by signal {stopper.signal}"
    done, rounds = trainer.global_step, trainer.max_epochs or 0
    if done < rounds and stopper.signal is not None:
        return "KILLED", f"stopped by signal {stopper.signal}"
    if done < rounds and stopped_early(configured):
        return "FINISHED", f"stopped early after round {done} of {rounds}"
    if done < rounds:
        return "KILLED", f"stopped by a callback after round {done} of {rounds}"
    return "FINISHED", ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's advice on data loaders and hardware, which does not apply here."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
