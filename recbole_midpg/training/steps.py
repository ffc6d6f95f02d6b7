"""The steps of an epoch: one by one as they are, or recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_midpg.training.cuda_graph import CopiedInput, Graph, RecordedWork, RowInput

# Trains on a batch and returns how many samples the step is the mean of.
Step = Callable[[Interaction], int]


class EagerSteps:
    """Runs each step as it is.

    Args:
        step: trains on a batch that is on the device.
        after_step: what the host has to do after a step.
        device: where the model is.
    """

    def __init__(self, step: Step, after_step: Callable[[], None], device: torch.device) -> None:
        self._step, self._after_step, self._device = step, after_step, device

    def of_epoch(self, train_data: Any) -> Iterator[int]:
        """Train on the batches of a loader; yields the number of samples of each."""
        for batch in train_data:
            n_samples = self._step(batch.to(self._device))
            self._after_step()
            yield n_samples


class RecordedSteps:
    """Records a step on a full batch and replays it; the last, smaller batch runs as it is.

    One step is one replay: the GPU works on it for half a millisecond at the least (measured), and
    the host is expected to need some twenty microseconds to start it (an estimate), so that several
    steps a replay would save little.

    Args:
        step: trains on a batch that is on the device.
        after_step: what the host has to do after a step.
        device: where the model is.
        new_graph: makes what records a step.
        report: called once with the reason where a step cannot be recorded.
    """

    def __init__(
        self,
        step: Step,
        after_step: Callable[[], None],
        device: torch.device,
        new_graph: Callable[[], Graph],
        report: Callable[[str], None],
    ) -> None:
        self._step, self._after_step, self._device = step, after_step, device
        self._new_graph, self._report = new_graph, report
        self._source: Any = None

    def of_epoch(self, train_data: Any) -> Iterator[int]:
        """Train on the batches of a loader; yields the number of samples of each."""
        if train_data is not self._source:
            # What is recorded reads the rows of one loader.
            self._source = train_data
            self._copied: tuple[CopiedInput, RecordedWork[int]] | None = None
            self._gathered: tuple[RowInput, RecordedWork[int]] | None = None
        if getattr(train_data, "device_rows", None) is None:
            return self._of_batches(train_data)
        return self._of_rows(train_data)

    def _of_batches(self, train_data: Any) -> Iterator[int]:
        """Copy each batch to where the recorded step reads it."""
        for batch in train_data:
            interaction = batch.to(self._device)
            columns = interaction.interaction
            if self._copied is None:
                inputs = CopiedInput(columns)
                self._copied = inputs, self._record(inputs.take)
            inputs, recorded = self._copied
            if inputs.fits(columns):
                inputs.load(columns)
                n_samples = recorded()
            else:
                n_samples = self._step(interaction)
            self._after_step()
            yield n_samples

    def _of_rows(self, train_data: Any) -> Iterator[int]:
        """Let the recorded step gather its batch itself."""
        order = train_data.epoch_order()
        if self._gathered is None:
            rows = train_data.device_rows
            inputs = RowInput(
                rows, train_data.sample_size, order.dtype, train_data.batch_size, self._device
            )
            self._gathered = inputs, self._record(inputs.take_next)
        inputs, recorded = self._gathered
        inputs.begin(order)
        for _ in range(inputs.n_full_batches):
            n_samples = recorded()
            self._after_step()
            yield n_samples
        rest = inputs.take_rest()
        if rest is not None:
            n_samples = self._step(Interaction(rest))
            self._after_step()
            yield n_samples

    def _record(self, take_batch: Callable[[], dict[str, Tensor]]) -> RecordedWork[int]:
        return RecordedWork(
            lambda: self._step(Interaction(take_batch())), self._new_graph(), self._report
        )


class RecordedPrediction:
    """Records the prediction of a batch and replays it; batches of another size run as they are.

    Args:
        predict: maps a batch that is on the device to scores ``(B,)``.
        new_graph: makes what records it.
        report: called once with the reason where it cannot be recorded.
    """

    def __init__(
        self,
        predict: Callable[[Interaction], Tensor],
        new_graph: Callable[[], Graph],
        report: Callable[[str], None],
    ) -> None:
        self._predict = predict
        self._new_graph, self._report = new_graph, report
        self._recorded: tuple[CopiedInput, RecordedWork[Tensor]] | None = None

    def __call__(self, interaction: Interaction) -> Tensor:
        """Compute the scores ``(B,)`` of a batch that is on the device."""
        columns = interaction.interaction
        if self._recorded is None:
            inputs = CopiedInput(columns)
            work = RecordedWork(
                lambda: self._predict(Interaction(inputs.take())), self._new_graph(), self._report
            )
            self._recorded = inputs, work
        inputs, work = self._recorded
        if not inputs.fits(columns):
            return self._predict(interaction)
        inputs.load(columns)
        return work().clone()  # the next replay writes over them
