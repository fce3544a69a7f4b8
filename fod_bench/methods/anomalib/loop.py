"""What anomalib's models ask of Lightning's Trainer: their steps, optimisers and schedules, one step at a time.

The Trainer itself has a loop, checkpoints and loggers of its own. Here the program asks for one step after the other, and may go on
with the next on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fod_bench.methods.anomalib.build import Model


class Loop:
    """Drives one model; `batches` gives the training images of an epoch, in order, as anomalib's batches."""

    def __init__(self, model: Model, epochs: int, batches: Callable[[], Iterable[Any]]) -> None:
        self._module = module = model.module
        self._losses = model.kind.losses
        loader = _Loader(batches)
        module.trainer = SimpleNamespace(
            max_epochs=epochs,
            max_steps=-1,
            current_epoch=0,
            train_dataloader=loader,
            datamodule=SimpleNamespace(train_dataloader=lambda: loader),
        )
        module.log = module.log_dict = lambda *_, **__: None
        self.optimizers, self._schedulers = _configured(module.configure_optimizers())
        module.optimizers = lambda: self.optimizers if len(self.optimizers) > 1 else self.optimizers[0]
        module.manual_backward = lambda loss, *given, **named: loss.backward(*given, **named)

    def skip_epochs(self, epochs: int) -> None:
        """Bring the schedules to where they are after so many epochs."""
        for _ in range(epochs):
            self._end_schedules()

    def begin_epoch(self, epoch: int) -> None:
        """What happens before an epoch's first step."""
        self._module.trainer.current_epoch = epoch
        self._module.on_train_epoch_start()

    def step(self, batch: Any, number: int) -> Tensor:
        """One step on a batch: the losses, (len(losses),)."""
        module = self._module
        found = module.training_step(batch, number)
        if self.optimizers and module.automatic_optimization:
            (optimizer,) = self.optimizers
            loss = found["loss"] if isinstance(found, dict) else found
            optimizer.zero_grad()
            module.backward(loss)
            limit = module.trainer_arguments.get("gradient_clip_val", 0)
            if limit:
                torch.nn.utils.clip_grad_norm_(module.parameters(), limit)
            optimizer.step()
        values = [found[name].detach().float().reshape(()) for name in self._losses]
        return torch.stack(values) if values else torch.empty(0, device=module.device)

    def end_epoch(self) -> None:
        """What happens after an epoch's last step: a memory is fitted, schedules go on."""
        self._module.on_train_epoch_end()
        self._end_schedules()

    def _end_schedules(self) -> None:
        for scheduler in self._schedulers:
            scheduler.step()


class _Loader:
    """Stands for a data loader: it can be gone through again and again."""

    def __init__(self, batches: Callable[[], Iterable[Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        return iter(self._batches())


def _configured(found: Any) -> tuple[list[torch.optim.Optimizer], list[Any]]:
    """Optimisers and schedulers from any of the forms in which `configure_optimizers` may give them."""
    if found is None:
        return [], []
    if isinstance(found, dict):
        scheduler = found.get("lr_scheduler")
        return [found["optimizer"]], [] if scheduler is None else [_scheduler(scheduler)]
    if isinstance(found, list | tuple):
        if found and isinstance(found[0], list | tuple):
            optimizers, schedulers = found
            return list(optimizers), [_scheduler(each) for each in schedulers]
        return list(found), []
    return [found], []


def _scheduler(given: Any) -> Any:
    return given["scheduler"] if isinstance(given, dict) else given
