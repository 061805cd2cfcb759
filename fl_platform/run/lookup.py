"""The stored result of a configuration, where it is one of the data that it names today."""

from __future__ import annotations

from pathlib import Path

from fl_platform.config import Config, config_hash
from fl_platform.run import provenance
from fl_platform.run.known_data import Seen, digest_of
from fl_platform.run.result import Result, finished
from fl_platform.tracking.run_folder import IdentityMismatch, run_folder


class OtherData(IdentityMismatch):
    """The stored result is of other data than those that lie where the configuration says."""

    def _told(self, path: Path, pairs: str) -> str:
        return (
            f"Expected the data that the stored result in {path} was computed from, got others"
            f" ({pairs}). Let task.data.root name those, or use --fresh (run anew; the old run is"
            " kept aside) or --continue-anyway (show it all the same)."
        )


def stored(config: Config, home: Path, seen: Seen | None = None) -> Result | None:
    """The result of a run that is over, else ``None``; needs neither torch nor Lightning.

    Only where the digest of the data is not known yet are they, and so torch, loaded once.

    Args:
        seen: digests of this very moment, for whoever asks of many runs; see `digest_of`.

    Raises:
        OtherData: it was computed from other data; ``runtime.continue_anyway`` lets it pass.
    """
    identity = config_hash(config)
    result = finished(home, identity)
    if result is None or config.runtime.continue_anyway:
        return result
    was = conditions(home, identity).get("data_digest")
    now = digest_of(config, home, seen) if was is not None else None
    if now is not None and now != was:
        raise OtherData(run_folder(home, identity).path, {"data_digest": (was, now)})
    return result


def of_other_code(config: Config, home: Path) -> tuple[str, ...]:
    """What computed the stored run and is not today's: ``code_fingerprint``, ``plugin.NAME``."""
    was = conditions(home, config_hash(config))
    return tuple(name for name, now in provenance.code(config).items() if was.get(name) != now)


def conditions(home: Path, identity: str) -> dict[str, str]:
    """What alters the bits of a run, as it was recorded for the run with that hash."""
    return (run_folder(home, identity).describe() or {}).get("conditions", {})
