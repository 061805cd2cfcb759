"""The code's fingerprint covers what computes a run's bits, and nothing else."""

import pytest

from fl_platform.run import provenance

PACKAGE = provenance.PACKAGE


@pytest.mark.parametrize("place", provenance.COMPUTES)
def test_what_computes_a_run_is_covered(place):
    assert (PACKAGE / place).exists()
    assert any(path.is_relative_to(PACKAGE / place) for path in provenance.sources())


def test_what_is_shown_or_stored_is_not_covered():
    """So that a run can be resumed after a comment in a report was edited."""
    for place in ("report", "tracking", "grid", "study", "repro", "cli.py", "console.py"):
        assert (PACKAGE / place).exists()
        assert not any(path.is_relative_to(PACKAGE / place) for path in provenance.sources())


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    file = tmp_path / "core" / "a.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    before = provenance._fingerprint(tmp_path, [file])
    assert provenance._fingerprint(tmp_path, [file]) == before
    file.write_text("x = 1  # a comment\n")
    assert provenance._fingerprint(tmp_path, [file]) != before
