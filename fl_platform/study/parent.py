"""The study's own run: what its trials are children of, with its plots and its winner."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from fl_platform.study.problem import EXPERIMENT
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import RunLock, RunOwned
from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.exporter import ForwardBusy, Forwarder, pending
from fl_platform.tracking.run_folder import RunFolder, all_runs, run_folder, write_json


class Parent:
    """A run folder without training; workers write to it by turns.

    Its id is kept in the study, so workers on several machines mean the same run.

    Attributes:
        run_id: what a trial's runs name as their parent.
    """

    def __init__(self, study: optuna.Study, home: Path, name: str) -> None:
        self.home = home
        self.folder: RunFolder = run_folder(home, _hash(name)).create()
        described = study.user_attrs.get("parent") or self.folder.describe()
        if described is None:
            described = {
                "schema": 1,
                "run_id": secrets.token_hex(16),
                "name": f"study {name}",
                "config_hash": _hash(name),
                "experiment": EXPERIMENT,
                "parent_run_id": "",
                "created": time.time(),
                "conditions": {},
            }
        if "parent" not in study.user_attrs:
            study.set_user_attr("parent", described)
            described = study.user_attrs["parent"]
        if self.folder.describe() is None:
            write_json(self.folder.identity_file, described)
        self.run_id: str = described["run_id"]
        self._client: Any = None

    def note(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        values: Iterable[tuple[int, Mapping[str, float]]] = (),
        artifacts: Iterable[Path] = (),
        status: str | None = None,
    ) -> None:
        """Write down what is new; a value that is there already is not written twice."""
        with self._open() as journal:
            history = journal.history
            new = {k: v for k, v in (tags or {}).items() if history.tags.get(k) != v}
            if new:
                journal.note("tags", values=new)
            fresh = {k: v for k, v in (params or {}).items() if k not in history.params}
            if fresh:
                journal.note("params", values=fresh)
            for step, numbers in values:
                journal.metrics(step, numbers)
            for path in artifacts:
                inside = path.resolve().relative_to(self.folder.path.resolve())
                journal.note("artifact", path=str(inside), folder="")
            if status is not None and status != history.status:
                journal.note("status", status=status, reason="")

    def bring(self, hashes: Iterable[str]) -> None:
        """Bring the study's run and the runs of ``hashes`` to MLflow, with one client.

        The first call also brings what workers that were killed on this machine have left behind.

        Raises:
            StoreError: the store cannot be opened; `fl-platform runs sync` brings it later.
        """
        if self._client is None:
            self._client = store.connect(self.home)
            own = [run for run in all_runs(self.home) if self._is_parent_of(run) and pending(run)]
        else:
            own = []
        for folder in [self.folder, *own, *(run_folder(self.home, h) for h in hashes)]:
            try:
                Forwarder(folder, self.home, self._client).forward()
            except ForwardBusy:
                continue  # somebody brings it at this moment

    def _is_parent_of(self, run: RunFolder) -> bool:
        return (run.describe() or {}).get("parent_run_id") == self.run_id

    @contextmanager
    def _open(self) -> Iterator[Journal]:
        while True:
            try:
                lock = RunLock(self.folder.lock).acquire()
                break
            except RunOwned:
                time.sleep(0.05)
        try:
            journal = Journal(self.folder.journal)
            yield journal
            journal.close()
        finally:
            lock.release()


def _hash(name: str) -> str:
    return hashlib.sha256(f"study\n{name}".encode()).hexdigest()
