"""Whole runs on a real GPU: nothing is read in a round's server side, and the end is the same."""

import pytest
import torch

from fl_platform import attacks
from fl_platform.defenses import multi_krum
from fl_platform.federated import Adversary, Aggregator, module
from fl_platform.federated.callbacks.metrics import Diagnosis, Evaluator, Robustness, Skew
from tests.federated.test_rounds import fit, flat

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_run_reads_nothing_in_its_rounds_and_ends_as_a_processors(
    federation, network, monkeypatch
):
    served = module.FederatedModule._served

    def strict(owner, index, *others, **options):
        if index:  # the first round makes what later ones use
            torch.cuda.set_sync_debug_mode("error")
        try:
            return served(owner, index, *others, **options)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    models = []
    for accelerator in ("cpu", "gpu"):
        if accelerator == "gpu":
            monkeypatch.setattr(module.FederatedModule, "_served", strict)
        watching = [
            Evaluator({"test": federation.samples}),
            Diagnosis(),
            Skew(1, 2),
            Robustness(1, multi_krum),
        ]
        run, _, _ = fit(
            network(norm=True),
            federation,
            Adversary(attacks.strike),
            Aggregator(multi_krum),
            *watching,
            byzantine=0.25,
            rounds=4,
            accelerator=accelerator,
        )
        models.append(flat(run.model).cpu())
    torch.testing.assert_close(models[1], models[0], rtol=1e-3, atol=1e-5)
