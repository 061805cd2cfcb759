"""A population much larger than a round: what is held grows with the round alone."""

import torch
from lightning.pytorch import Trainer
from torch import nn

from fl_platform.core import generator
from fl_platform.defenses import mean
from fl_platform.federated import Aggregator, FederatedModule, Federation, LocalTraining, Samples


def test_ten_thousand_clients_of_whom_a_hundred_take_part():
    count, sampled = 10_000, 100
    inputs = torch.randn(count, 4, generator=generator(0, "many"))
    samples = Samples(inputs, (inputs[:, 0] > 0).long())
    federation = Federation(samples, torch.arange(count).split(1), 2)
    seen = []

    class Watch(Aggregator):
        def aggregate(self, updates, *more):
            seen.append(updates.matrix.clone())
            return super().aggregate(updates, *more)

    module = FederatedModule(
        nn.Linear(4, 2), federation, LocalTraining(batch=4, lr=0.5), sampled=sampled, byzantine=0.1,
        way="vmapped",
    )  # fmt: skip
    Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Watch(mean)],
    ).fit(module)
    assert [matrix.shape for matrix in seen] == [(sampled, 10)] * 3
    assert not torch.equal(seen[0], seen[1])
    module_rows = module._rows
    assert module_rows is not None
    assert module_rows.shape == (sampled, 10)
