"""A place for files that several machines share: any address that MLflow stores artifacts at."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fl_platform.core.text import reason, without_secrets
from fl_platform.tracking.mlflow.store import StoreError

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}


class ArtifactPlace:
    """Files by name below ``address``: a path, ``s3://``, ``gs://``, ``mlflow-artifacts:/``.

    Raises:
        StoreError: MLflow is missing, or has no driver for the address.
    """

    def __init__(self, address: str) -> None:
        self.address = without_secrets(address)
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            self._repository = get_artifact_repository(address)
        except Exception as error:
            raise self._fault(error) from error

    def push(self, file: Path) -> None:
        """Store ``file`` under its name."""
        try:
            self._repository.log_artifact(str(file))
        except Exception as error:
            raise self._fault(error) from error

    def fetch(self, name: str, folder: Path) -> Path:
        """The stored file ``name``, copied into ``folder``."""
        try:
            self._repository.download_artifacts(name, str(folder))
        except Exception as error:
            raise self._fault(error) from error
        return folder / name

    def remove(self, name: str) -> None:
        """Remove the stored file ``name``, where the store supports it."""
        with contextlib.suppress(Exception):
            self._repository.delete_artifacts(name)

    def _fault(self, error: Exception) -> StoreError:
        return StoreError(
            f"The artifacts at {self.address} cannot be used:"
            f" {without_secrets(reason(error))}. Expected a reachable store."
        )
