"""RecBole's trainer, reporting the loss of a sample, term by term."""

from __future__ import annotations

from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch import Tensor
from torch.nn.utils.clip_grad import clip_grad_norm_
from tqdm import tqdm

from recbole_midpg.errors import UsageError


class ScenarioTrainer(Trainer):
    """Trains the models of this package.

    It differs from RecBole's trainer in what an epoch reports: the mean loss of a sample, where
    RecBole's is the sum over batches and so grows with their number, and each term by its name.

    Args:
        config: RecBole's ``Config``.
        model: a :class:`~recbole_midpg.models.base.ScenarioRecommender`.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole's trainer does, then log what the model has to remark."""
        result = super().fit(*args, **kwargs)
        for remark in self._remarks():
            self.logger.warning(remark)
        return result

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of the loss's terms."""
        return self.model.loss_names

    def _remarks(self) -> list[str]:
        """What a user should know of the model after training."""
        return self.model.remarks()

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float | tuple[float, ...]:
        """Train for an epoch.

        Returns:
            The mean loss of a sample; a tuple of the terms' means where the loss has several.

        Raises:
            UsageError: the loss became NaN or infinite.
        """
        self.model.train()
        loss_func = loss_func or self.model.calculate_loss
        batches = train_data
        if show_progress:
            description = set_color(f"Train {epoch_idx:>5}", "pink")
            batches = tqdm(train_data, total=len(train_data), ncols=100, desc=description)

        # RecBole enables the scaler on CUDA only; torch.amp.GradScaler came with torch 2.3.
        scaler = torch.cuda.amp.GradScaler(enabled=self.enable_scaler)
        sums = torch.zeros(len(self.loss_names), device=self.device)
        n_samples = 0
        for batch in batches:
            interaction = batch.to(self.device)
            self.optimizer.zero_grad()
            terms, rows = self._differentiate(interaction, loss_func, scaler)
            if self.clip_grad_norm:
                # Clipping means the true gradients, not the scaled ones.
                scaler.unscale_(self.optimizer)
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            scaler.step(self.optimizer)
            scaler.update()
            sums += terms.detach().to(sums.dtype) * rows
            n_samples += rows
        return self._mean_losses(sums, n_samples, epoch_idx)

    def _differentiate(self, interaction: Any, loss_func: Any, scaler: Any) -> tuple[Tensor, int]:
        """Compute a batch's loss and the gradients of the parameters.

        Returns:
            The terms of the loss, and the number of samples that they are the mean of.
        """
        terms = self._terms(interaction, loss_func)
        scaler.scale(terms.sum()).backward()
        return terms, len(interaction)

    def _terms(self, interaction: Any, loss_func: Any) -> Tensor:
        """The terms of a batch's loss, one for each of :attr:`loss_names`."""
        with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
            losses = loss_func(interaction)
        return torch.stack(losses if isinstance(losses, tuple) else (losses,))

    def _mean_losses(
        self, sums: Tensor, n_samples: int, epoch_idx: int
    ) -> float | tuple[float, ...]:
        means = tuple((sums / n_samples).tolist())
        if not torch.isfinite(sums).all():
            named = ", ".join(
                f"{name} = {value}" for name, value in zip(self.loss_names, means, strict=True)
            )
            raise UsageError(
                f"training: the loss of epoch {epoch_idx} is not finite ({named}); "
                "a lower learning_rate or weight of the term may help."
            )
        return means if len(means) > 1 else means[0]

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: float | tuple[float, ...]
    ) -> str:
        """The epoch's line in the log."""
        terms = losses if isinstance(losses, tuple) else (losses,)
        places = self.config["loss_decimal_place"] or 4
        text = f"{sum(terms):.{places}f}"
        if len(terms) > 1:
            named = zip(self.loss_names, terms, strict=True)
            text += f" ({', '.join(f'{name}: {value:.{places}f}' for name, value in named)})"
        return (
            set_color(f"epoch {epoch_idx} training", "green")
            + f" [{set_color('time', 'blue')}: {e_time - s_time:.2f}s, "
            + f"{set_color('train loss per sample', 'blue')}: {text}]"
        )
