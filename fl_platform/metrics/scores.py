"""Scores of a classifier beside accuracy and loss, from its outputs, by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BINS = 15  # of the calibration error, as in Guo et al. 2017


def macro_f1(outputs: Tensor, targets: Tensor) -> float:
    """Unweighted mean over classes of F1, from 0 to 1.

    .. math:: \\frac1C \\sum_c \\frac{2 TP_c}{2 TP_c + FP_c + FN_c}

    Args:
        outputs: ``(N, C)`` logits.
        targets: ``(N,)`` classes; a class that is neither a target nor predicted does not count.

    References:
        J. Opitz, S. Burst, Macro F1 and Macro F1, 2019, https://arxiv.org/abs/1911.03347 (the mean
        of F1 scores, not the F1 of means).
    """
    from torchmetrics.functional.classification import multiclass_f1_score

    return float(multiclass_f1_score(outputs, targets, outputs.shape[1], average="macro"))


def calibration_error(outputs: Tensor, targets: Tensor) -> float:
    """Expected calibration error, from 0 to 1: mean distance of confidence and accuracy.

    .. math:: \\sum_b \\frac{|b|}{N} |\\text{accuracy}(b) - \\text{confidence}(b)|

    over 15 bins b of equal width of the largest class probability.

    Args:
        outputs: ``(N, C)`` logits.
        targets: ``(N,)`` classes.

    References:
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML
        2017.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    shares = outputs.softmax(1)
    return float(multiclass_calibration_error(shares, targets, outputs.shape[1], BINS, "l1"))


def class_accuracies(outputs: Tensor, targets: Tensor) -> dict[int, float]:
    """Share of correct predictions, from 0 to 1, of each class that has samples.

    Args:
        outputs: ``(N, C)`` logits.
        targets: ``(N,)`` classes.
    """
    from torchmetrics.functional.classification import multiclass_accuracy

    shares = multiclass_accuracy(outputs, targets, outputs.shape[1], average=None).tolist()
    return {label: shares[label] for label in targets.unique().tolist()}


def client_accuracies(right: Tensor, clients: Sequence[Tensor]) -> dict[str, float]:
    """Worst, mean and variance over clients of their accuracies.

    Args:
        right: ``(N,)`` whether the prediction for a sample is correct.
        clients: indices of the samples of each client; one without samples does not count.

    References:
        T. Li, M. Sanjabi, A. Beirami, V. Smith, Fair Resource Allocation in Federated Learning,
        ICLR 2020, whose measure of fairness is the variance.

    >>> import torch
    >>> from fl_platform.metrics.scores import client_accuracies
    >>> client_accuracies(torch.tensor([True, True, True, False]), torch.arange(4).split(2))
    {'worst': 0.5, 'mean': 0.75, 'variance': 0.0625}
    """
    shares = torch.stack(
        [right[own.to(right.device)].double().mean() for own in clients if len(own)]
    )
    found = {"worst": shares.min(), "mean": shares.mean(), "variance": shares.var(correction=0)}
    return {name: float(value) for name, value in found.items()}
