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
from recbole_midpg.training.compilation import compiled_loss


class ScenarioTrainer(Trainer):
    """Trains the models of this package.

    It differs from RecBole's trainer in what an epoch reports: the mean loss of a sample, where
    RecBole's is the sum over batches and so grows with their number, and each term by its name.

    Args:
        config: RecBole's ``Config``.
        model: a :class:`~recbole_midpg.models.base.ScenarioRecommender`.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.loss_function = self.model.calculate_loss

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole's trainer does, then log what the model has to remark."""
        if self.config["compile_model"]:
            self.loss_function = compiled_loss(self.model)
        result = super().fit(*args, **kwargs)
        for remark in self.model.remarks():
            self.logger.warning(remark)
        return result

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
        loss_func = loss_func or self.loss_function
        distributed = not self.config["single_spec"]
        if distributed and train_data.shuffle:
            train_data.sampler.set_epoch(epoch_idx)
        batches = train_data
        if show_progress:
            description = set_color(f"Train {epoch_idx:>5}", "pink")
            batches = tqdm(train_data, total=len(train_data), ncols=100, desc=description)

        # RecBole enables the scaler on CUDA only; torch.amp.GradScaler came with torch 2.3.
        scaler = torch.cuda.amp.GradScaler(enabled=self.enable_scaler)
        sums = torch.zeros(len(self.model.loss_names), device=self.device)
        n_samples = 0
        for batch in batches:
            interaction = batch.to(self.device)
            self.optimizer.zero_grad()
            synchronisation = 0.0
            if distributed:
                self.set_reduce_hook()
                synchronisation = self.sync_grad_loss()
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                losses = loss_func(interaction)
            terms = torch.stack(losses if isinstance(losses, tuple) else (losses,))
            scaler.scale(terms.sum() + synchronisation).backward()
            if self.clip_grad_norm:
                # Clipping means the true gradients, not the scaled ones.
                scaler.unscale_(self.optimizer)
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            scaler.step(self.optimizer)
            scaler.update()
            sums += terms.detach().to(sums.dtype) * len(interaction)
            n_samples += len(interaction)
        return self._mean_losses(sums, n_samples, epoch_idx)

    def _mean_losses(
        self, sums: Tensor, n_samples: int, epoch_idx: int
    ) -> float | tuple[float, ...]:
        means = tuple((sums / n_samples).tolist())
        if not torch.isfinite(sums).all():
            named = ", ".join(
                f"{name} = {value}"
                for name, value in zip(self.model.loss_names, means, strict=True)
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
            named = zip(self.model.loss_names, terms, strict=True)
            text += f" ({', '.join(f'{name}: {value:.{places}f}' for name, value in named)})"
        return (
            set_color(f"epoch {epoch_idx} training", "green")
            + f" [{set_color('time', 'blue')}: {e_time - s_time:.2f}s, "
            + f"{set_color('train loss per sample', 'blue')}: {text}]"
        )
