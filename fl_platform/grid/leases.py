"""Leases of runs in a database: which worker executes which run, without a shared folder.

A worker claims a run for some seconds and renews the lease while it executes the run. A lease that
was not renewed in time may be claimed by another worker; the database's clock decides. Each claim
has a token of its own, and only the holder of the newest token can write the outcome.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from fl_platform.config import ConfigError
from fl_platform.core.outside import parse_json
from fl_platform.core.text import reason, without_secrets
from fl_platform.tracking.mlflow.store import StoreError

SECONDS = 60.0  # from the last renewal until another worker may claim the run

# Seconds since 1970 by the database's clock: the clocks of workers may differ.
_NOW = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
}
_TABLE = """
CREATE TABLE IF NOT EXISTS fl_leases (
  run TEXT PRIMARY KEY, state TEXT NOT NULL, owner TEXT NOT NULL, token TEXT NOT NULL,
  heartbeat DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION NOT NULL,
  starts INTEGER NOT NULL, reason TEXT NOT NULL,
  archive TEXT NOT NULL, sha256 TEXT NOT NULL, pushed_by TEXT NOT NULL, content TEXT NOT NULL)
"""
_INSERT = """
INSERT INTO fl_leases VALUES (:run, :state, '', '', 0, 0, 0, '', '', '', '', :content)
ON CONFLICT (run) DO NOTHING
"""
_CLAIM = """
UPDATE fl_leases SET state = 'running', owner = :owner, token = :token, starts = starts + 1,
  heartbeat = {now}, expires = {now} + :seconds
WHERE run = :run AND starts < :tries
  AND (state = 'free' OR (state = 'running' AND expires < {now}))
"""
_RENEW = """
UPDATE fl_leases SET heartbeat = {now}, expires = {now} + :seconds
WHERE run = :run AND token = :token AND state = 'running'
"""
_PUSHED = """
UPDATE fl_leases SET archive = :archive, sha256 = :sha256, pushed_by = owner,
  starts = CASE WHEN :new = 1 THEN 0 ELSE starts END
WHERE run = :run AND token = :token AND state = 'running'
"""
_FINISH = """
UPDATE fl_leases SET state = 'done', content = :content, heartbeat = {now}
WHERE run = :run AND token = :token AND state = 'running'
"""
_GIVE_BACK = """
UPDATE fl_leases SET state = 'free', reason = :reason, heartbeat = {now},
  starts = CASE WHEN :counted = 1 OR starts = 0 THEN starts ELSE starts - 1 END
WHERE run = :run AND token = :token AND state = 'running'
"""
_LOOK = "SELECT fl_leases.*, expires < {now} AS expired FROM fl_leases WHERE run = :run"


@dataclass(frozen=True)
class Lease:
    """What all workers know of one run.

    Attributes:
        state: ``free``, ``running``, ``done``, or ``parent`` for the parent run of a grid.
        expired: whether the owner did not renew the lease in time.
        starts: starts since the last new checkpoint; those that were stopped in order do not count.
        reason: cause of the last failure.
        archive, sha256: the newest pushed copy of the run's folder; ``pushed_by``: its owner.
        content: the result as JSON, or ``run.json`` of a parent run.
    """

    run: str
    state: str
    owner: str
    token: str
    heartbeat: float
    expires: float
    starts: int
    reason: str
    archive: str
    sha256: str
    pushed_by: str
    content: str
    expired: bool

    @property
    def stored(self) -> dict[str, Any]:
        """The content as an object."""
        found: dict[str, Any] = parse_json(self.content.encode(), f"the lease of {self.run}")
        return found

    @property
    def free(self) -> bool:
        """Whether a worker may claim the run now."""
        return self.state == "free" or (self.state == "running" and self.expired)


class LeaseTable:
    """The table ``fl_leases`` of a PostgreSQL or SQLite database, created if it is missing.

    Args:
        url: address of the database, such as ``postgresql://user@host/name``.
        owner: name of this worker's workspace, shown to the others.
        seconds: length of a lease.

    Raises:
        StoreError: the database does not answer; the message hides the password.
    """

    def __init__(self, url: str, owner: str, seconds: float = SECONDS) -> None:
        self.owner, self.seconds = owner, seconds
        self.address = without_secrets(url)
        head, _, rest = url.partition("://")
        driver = "postgresql+psycopg" if head in ("postgres", "postgresql") else head
        dialect = driver.partition("+")[0]
        if dialect not in _NOW:
            raise ConfigError(f"--leases: expected postgresql:// or sqlite://, got {self.address}.")
        arguments: dict[str, Any] = (
            {"timeout": 30} if dialect == "sqlite" else {"connect_timeout": 10}
        )
        try:
            self._engine = create_engine(
                f"{driver}://{rest}", connect_args=arguments, pool_pre_ping=True
            )
        except (SQLAlchemyError, ImportError, ValueError) as error:  # a port that is none
            raise self._fault(error) from None
        self._now = _NOW[dialect]
        try:
            self._run(_TABLE)
        except StoreError:  # of two workers that create it at once one is refused
            self._run(_TABLE)

    def look(self, run: str) -> Lease | None:
        """The lease of ``run``; ``None`` if no worker has claimed it."""
        with self._begin() as connection:
            row = connection.execute(self._sql(_LOOK), {"run": run}).mappings().first()
        return None if row is None else Lease(**{**row, "expired": bool(row["expired"])})

    def claim(self, run: str, tries: int) -> str | None:
        """Claim ``run``: the token of the lease, or ``None`` if the run is not free.

        Args:
            tries: starts without a new checkpoint after which the run is given to no worker.
        """
        self._run(_INSERT, run=run, state="free", content="")
        token = secrets.token_hex(8)
        given = {"owner": self.owner, "token": token, "seconds": self.seconds, "tries": tries}
        return token if self._run(_CLAIM, run=run, **given) else None

    def renew(self, run: str, token: str) -> bool:
        """Extend the lease; ``False`` if another worker has claimed the run."""
        return self._run(_RENEW, run=run, token=token, seconds=self.seconds)

    def pushed(self, run: str, token: str, archive: str, sha256: str, *, new: bool) -> bool:
        """Record the newest copy of the run's folder; ``False`` as for `renew`.

        Args:
            new: whether it has a new checkpoint.
        """
        given = {"archive": archive, "sha256": sha256, "new": int(new)}
        return self._run(_PUSHED, run=run, token=token, **given)

    def finish(self, run: str, token: str, result: Mapping[str, Any]) -> bool:
        """Record the result; ``False`` as for `renew`."""
        return self._run(_FINISH, run=run, token=token, content=json.dumps(result))

    def give_back(self, run: str, token: str, why: str = "", *, counted: bool = False) -> bool:
        """Free the run for others; ``counted``: as a start that failed."""
        return self._run(_GIVE_BACK, run=run, token=token, reason=why, counted=int(counted))

    def remember(self, run: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """The ``run.json`` of a parent run: the stored one, or ``content`` if there is none yet."""
        self._run(_INSERT, run=run, state="parent", content=json.dumps(content))
        lease = self.look(run)
        return dict(content) if lease is None else lease.stored

    def _run(self, statement: str, **values: Any) -> bool:
        with self._begin() as connection:
            return connection.execute(self._sql(statement), values).rowcount == 1

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._fault(error) from error

    def _sql(self, statement: str) -> Any:
        return text(statement.replace("{now}", self._now))

    def _fault(self, error: Exception) -> StoreError:
        cause = without_secrets(reason(getattr(error, "orig", None) or error))
        return StoreError(
            f"The leases in {self.address} cannot be used: {cause}. Expected a reachable database;"
            " PostgreSQL requires the extra 'postgres'. The same command continues the grid."
        )
