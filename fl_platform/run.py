"""The story of one run: config -> data -> model -> roles -> trainer -> result."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from fl_platform import provenance
from fl_platform.artifacts import write_artifacts
from fl_platform.assembly import (
    Population,
    build_module,
    build_roles,
    load_population,
    resolve_device,
)
from fl_platform.config import Config, config_hash, flat
from fl_platform.federated import Diverged, FederatedModule
from fl_platform.federated.commit import Commit
from fl_platform.federated.observers import Defended, Evaluation
from fl_platform.federated.progress import ProgressLine
from fl_platform.federated.stopping import Stopped, Stopper
from fl_platform.naming import run_name, run_tags
from fl_platform.result import Result, finished
from fl_platform.summary import summarise
from fl_platform.tracking.cadence import Cadence
from fl_platform.tracking.checkpoint import CheckpointFile
from fl_platform.tracking.checkpoint_io import DigestCheckpointIO
from fl_platform.tracking.courier import Courier
from fl_platform.tracking.folder import RunFolder, run_folder, write_json
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock
from fl_platform.tracking.logger import JournalLogger
from fl_platform.tracking.machine import MachineSampler


def run(config: Config, home: Path, *, parent_run_id: str = "") -> Result:
    """Run ``config`` to its end, from wherever an earlier process left it.

    A finished run is not run again: its stored result is returned. SIGTERM and SIGINT leave at a
    round boundary with a checkpoint; the same call then continues.

    Args:
        config: what to run.
        home: where ``mlruns/`` and relative data roots lie.
        parent_run_id: of the grid, study or suite that this run belongs to.

    Raises:
        RunOwned: another living process works on this run.
        IdentityMismatch: the folder's unfinished run was begun under other conditions.
        CheckpointError: no checkpoint of the run is intact.
    """
    folder = run_folder(home, config_hash(config))
    if config.runtime.fresh:
        folder.set_aside()
    if (stored := finished(folder)) is not None:
        return stored
    folder.create()
    with RunLock(folder.lock), Stopper() as stopper:
        return _run(config, home, folder, stopper, parent_run_id)


def _run(
    config: Config, home: Path, folder: RunFolder, stopper: Stopper, parent_run_id: str
) -> Result:
    started = time.perf_counter()
    torch.set_num_threads(config.runtime.threads)
    device = resolve_device(config.runtime.device)
    population = load_population(config, home)
    identity = folder.introduce(
        name=run_name(config),
        config_hash=config_hash(config),
        experiment=config.experiment or config.task.name,
        conditions=conditions(config, device, population),
        parent_run_id=parent_run_id,
        continue_anyway=config.runtime.continue_anyway,
    )
    with _tracked(config, home, folder) as journal:
        introduce(journal, config, population)
        module = build_module(config, population, stopper.between_clients)
        evaluation = Evaluation(population.held_out, config.evaluation.every)
        trainer = build_trainer(config, device, folder, journal, stopper, [Defended(), evaluation])
        status, reason = fit(trainer, module, folder, stopper)
        result = summarise(
            config,
            identity,
            journal.history,
            status=status,
            reason=reason,
            score=evaluation.scores.get("test"),
            weights=module.model.state_dict(),
            seconds=time.perf_counter() - started,
        )
        if status in ("FINISHED", "DIVERGED"):
            for path in write_artifacts(config, folder, population, module, journal.history):
                journal.note("artifact", path=str(path.relative_to(folder.path)))
            journal.metrics(result.rounds, result.accuracies())
            write_json(folder.result_file, result.to_json())
        journal.note("status", status=status, reason=reason)
    return result


def conditions(config: Config, device: torch.device, population: Population) -> dict[str, Any]:
    """What alters the bits of a run beside its configuration."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "threads": config.runtime.threads,
        "precision": config.runtime.precision,
        "local": config.runtime.local,
        "data_digest": population.dataset.digest,
        "partition_digest": population.partition.digest,
        "code_fingerprint": provenance.code_fingerprint(),
        **provenance.versions(),
    }


def introduce(journal: Journal, config: Config, population: Population) -> None:
    """Write down who this run is, before its first round."""
    commit, dirty = provenance.git_state()
    journal.note("params", values=flat(config))
    journal.note(
        "tags",
        values={
            **run_tags(config),
            "git_commit": commit,
            "git_dirty": str(dirty).lower(),
            "data_digest": population.dataset.digest,
            "partition_digest": population.partition.digest,
            "partition_moved": str(population.partition.moved),
            "data_notes": " ".join(population.dataset.notes),
        },
    )
    journal.note("status", status="RUNNING")


def build_trainer(
    config: Config,
    device: torch.device,
    folder: RunFolder,
    journal: Journal,
    stopper: Stopper,
    observers: list[Any],
) -> Trainer:
    """Lightning's trainer: one epoch of one step a round, nothing automatic but the loop."""
    callbacks = [*build_roles(config), *observers]
    if config.runtime.progress != "none":
        callbacks.append(ProgressLine(run_name(config)))
    callbacks.append(Commit(folder.checkpoint, journal, Cadence(), stopper))
    with _quiet():
        return Trainer(
            max_epochs=config.rounds,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=config.runtime.precision,
            logger=JournalLogger(journal, name=run_name(config), version=config_hash(config)[:16]),
            log_every_n_steps=1,
            callbacks=callbacks,
            plugins=[DigestCheckpointIO()],
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def fit(
    trainer: Trainer, module: FederatedModule, folder: RunFolder, stopper: Stopper
) -> tuple[str, str]:
    """Train from the last commit, if any, to the end: the run's status and the reason for it."""
    resume = folder.checkpoint if CheckpointFile(folder.checkpoint).exists() else None
    try:
        with _quiet():
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except Diverged as reason:
        return "DIVERGED", str(reason)
    except Stopped as reason:
        return "KILLED", str(reason)
    if stopper.signal is not None and trainer.global_step < (trainer.max_epochs or 0):
        return "KILLED", f"stopped by signal {stopper.signal}"
    return "FINISHED", ""


@contextlib.contextmanager
def _tracked(config: Config, home: Path, folder: RunFolder) -> Iterator[Journal]:
    """The run's journal, brought to MLflow while the run goes on; what fails is its last word."""
    journal = Journal(folder.journal)
    sampler = MachineSampler(journal).start()
    courier = Courier(folder, home).start() if config.runtime.tracking == "mlflow" else None
    try:
        yield journal
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        with contextlib.suppress(OSError):
            journal.note("status", status=status, reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        sampler.close()
        journal.close()
        if courier is not None:
            courier.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice on data loaders and hardware, which is not about federations."""
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
