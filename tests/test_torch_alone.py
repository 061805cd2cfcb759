"""Attacks and defenses need torch and nothing else of what the platform is built on."""

import subprocess
import sys
import textwrap

import pytest

BLOCKED = ("lightning", "mlflow", "hydra", "omegaconf", "optuna", "sklearn", "scipy", "pandas")
BLOCKER = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked here", name=name)

sys.meta_path.insert(0, Blocked())
"""


def alone(code):
    whole = BLOCKER + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, check=False
    )


def test_every_rule_over_rows_runs_on_a_plain_tensor_with_torch_alone():
    done = alone("""
        import torch
        from fl_platform import attacks, defenses
        from fl_platform.attacks import strike
        from fl_platform.core import Aggregate
        from fl_platform.core.rule import first_parameters
        from fl_platform.defenses import multi_krum

        stream = torch.Generator().manual_seed(0)
        rows = torch.randn(11, 6, generator=stream, dtype=torch.float64)
        assert strike(rows, 2, nu=0.5).shape == (2, 6)
        assert multi_krum(rows, 2).vector.shape == (6,)
        known = {"reference": rows[0], "model": rows[1], "round": 0, "layers": (2, 4),
                 "query": lambda sent: torch.cat([rows, sent]).median(0).values}
        ran = set()
        for home in (attacks, defenses):
            for name in home.__all__:
                rule = getattr(home, name)
                if not name.islower() or name in ("largest_f", "tolerates"):
                    continue
                rule = rule(0) if isinstance(rule, type) else rule
                inputs = first_parameters(rule)
                if inputs[0] not in ("updates", "honest"):
                    continue
                given = {key: known[key] for key in inputs if key in known}
                before = rows.clone()
                made = rule(rows, 2, **given)
                assert isinstance(made, (Aggregate, torch.Tensor)), name
                assert torch.equal(rows, before), name
                ran.add(name)
        print(len(ran))
    """)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 24


@pytest.mark.parametrize("name", ["lightning", "mlflow", "hydra", "omegaconf"])
def test_the_blocked_import_is_noticed(name):
    done = alone(f"import {name}")
    assert done.returncode != 0
    assert "is blocked here" in done.stderr
