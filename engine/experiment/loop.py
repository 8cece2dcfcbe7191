"""The training loop's state and steps: a model, its optimizer, the data, and the place reached.

Everything that decides what follows is in `tensors()` and `state()`; from these, `load()` continues
with the same bits."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from engine.experiment.build import build, check_size
from engine.experiment.custom.check import check_network
from engine.experiment.data import TEXT, load_data, sample_order
from engine.experiment.feeding.augment import Batches
from engine.experiment.lifecycle.stopping import check_choice, stops
from engine.experiment.lifecycle.verdict import Outcome
from engine.experiment.losses import make_loss
from engine.experiment.precision import number_format
from engine.experiment.processor import give_torch_threads, processor
from engine.experiment.schedules import learning_rate, warmed_up
from engine.experiment.tasks._trained import start_from, start_of
from engine.nn.analog import AnalogTile
from engine.readers.wording import brief
from engine.settings import UserError, user_path

if TYPE_CHECKING:
    from engine.optim.replay import Replayed


@dataclass
class Place:
    """How far a run has come. `loss` and `correct` are sums over the samples of the current
    epoch; `start_loss` is that of a sample of the first step, before anything was learned."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    samples: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0
    start_loss: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


def place_of(stored: Mapping[str, Any]) -> Place:
    """The place that a checkpoint tells. Raises TypeError for one that nothing can go on from."""
    place = Place(**stored)
    for key, start in vars(Place()).items():
        value = getattr(place, key)
        kinds = type(start) if isinstance(start, int | list) else int | float
        # Before the first step there is no loss yet.
        absent = value is None and start is None
        negative = isinstance(value, int | float) and value < 0
        if not absent and (not isinstance(value, kinds) or negative):
            raise TypeError(f"place.{key} is {brief(value)}")
    if not all(
        isinstance(row, dict) and {"epoch", "train_loss"} <= row.keys()
        for row in place.rows
    ):
        raise TypeError("place.rows are no rows of epochs")
    return place


class Loop:
    """One run in memory. Raises UserError while it is made if the configuration or the data are
    unusable."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.device = processor(config["run"])
        check_network(config)
        self.data = load_data(config["dataset"], seed=int(config["run"]["seed"]))
        check_size(config, self.data.info)
        self.model, self.optimizer = build(config, self.data.info, self.device)
        if start := start_of(config):
            start_from(self.model, user_path(start), config, info=self.data.info)
        check_choice(config["run"], validated=self.data.valid_y is not None)
        self.data = self.data.to(self.device)
        self.batches = self._batches()
        give_torch_threads(
            self.model, self.data.info, int(config["dataset"]["batch_size"])
        )
        self.parameters = [
            p for group in self.optimizer.param_groups for p in group["params"]
        ]
        self.loss_function = make_loss(config["loss"])
        self.epochs = int(config["run"]["epochs"])
        self.batch_size = int(config["dataset"]["batch_size"])
        # What one step of the optimizer learns from, in mini-batches one after another.
        self.step_size = self.batch_size * int(
            config["optimizer"].get("accumulate") or 1
        )
        self.steps_per_epoch = -(-len(self.data.train_y) // self.step_size)
        self.place = Place()
        self.step_samples = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.correct_sum = torch.zeros((), dtype=torch.int64, device=self.device)
        self.replayed = self._replayed()

    def lr(self) -> float:
        """The learning rate of the current epoch."""
        return learning_rate(self.config["optimizer"], self.place.epoch, self.epochs)

    def steps(self) -> Iterator[torch.Tensor]:
        """Train to the end of the current epoch; yields the loss of each step, between two
        steps."""
        self.model.train()
        if self.place.batch == 0:
            begin_streams(self.model)
        self._set_rates()
        order = self._order().to(self.device)
        self.loss_sum.fill_(self.place.loss)
        self.correct_sum.fill_(int(self.place.correct))
        mark = time.perf_counter()
        left = list(order.split(self.step_size))[self.place.batch :]
        made = (
            None if self.batches is None else self.batches.epoch(self.place.epoch, left)
        )
        for index in left:
            if self.config["optimizer"].get("warmup"):
                self._set_rates()
            if made is not None:
                loss = self._step(index, next(made).to(self.device))
            elif self.replayed is None:
                loss = self._step(index)
            else:
                loss = self.replayed.step(index, self.lr() * self._warmed_up())
            self.step_samples = len(index)
            if self.place.steps == 0:
                self.place.start_loss = self.mean_loss(loss, len(index))
            self.place.batch += 1
            self.place.steps += 1
            self.place.samples += len(index)
            self.place.training_seconds += time.perf_counter() - mark
            yield loss
            mark = time.perf_counter()
        self.loss_sum.item()  # waits for a GPU, so that its time counts as training
        self.place.training_seconds += time.perf_counter() - mark

    def _set_rates(self) -> None:
        """The learning rates of the next step: pure functions of the place reached."""
        settings, factor = self.config["optimizer"], self._warmed_up()
        for group in self.optimizer.param_groups:
            own = {**settings, "lr": group.get("base_lr", settings["lr"])}
            rate = learning_rate(own, self.place.epoch, self.epochs)
            group["lr"] = rate * factor

    def _warmed_up(self) -> float:
        return warmed_up(self.config["optimizer"], self.place.steps)

    def stops(self) -> bool:
        """Whether training ends here although epochs are left."""
        return stops(self.place.rows, int(self.config["run"].get("patience") or 0))

    def mean_loss(self, loss: torch.Tensor, samples: int) -> float:
        """The loss of a step by itself, over its labels; `loss` may be their sum."""
        labels = samples * self.data.train_y[:1].numel()
        return loss.item() * _weight(self.config["loss"], labels) / labels

    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(p.isfinite().all()) for p in self.model.parameters())

    def samples(self) -> dict[str, int]:
        """How many samples each part of the data has."""
        valid = self.data.valid_y
        parts = {"train": self.data.train_y, "valid": valid, "test": self.data.test_y}
        return {
            name: 0 if labels is None else len(labels) for name, labels in parts.items()
        }

    def outcome(self) -> Outcome:
        """What the verdict on the training needs."""
        test, samples = self.data.test_y.flatten(), self.place.samples
        return Outcome(
            rows=self.place.rows,
            start_loss=self.place.start_loss,
            classes=self.data.classes,
            chance=torch.bincount(test).max().item() / len(test),
            labels=len(test),
            samples=samples,
            finite=self.finite(),
            tiles=sum(isinstance(part, AnalogTile) for part in self.model.modules()),
        )

    def _order(self) -> torch.Tensor:
        count = len(self.data.train_y)
        if not self.config["dataset"].get("shuffle", True):
            return torch.arange(count, dtype=torch.int64)
        return sample_order(count, int(self.config["run"]["seed"]), self.place.epoch)

    def _replayed(self) -> Replayed | None:
        """Steps as a graph, where they run on a GPU and the network allows it."""
        if self.device.type != "cuda":
            return None
        from engine.optim.replay import Replayed, obstacle

        if obstacle(self.model) or self.batches is not None:
            return None
        replay = bool(self.config["run"].get("graph", True))
        return Replayed(self.model, self.optimizer, self._step, replay=replay)

    def _batches(self) -> Batches | None:
        """Augmented inputs, where the samples are not learned as they are."""
        if self.data.augmented is None:
            return None
        workers = int(self.config["dataset"].get("workers") or 0)
        return Batches(self.data, seed=int(self.config["run"]["seed"]), workers=workers)

    def _step(self, index: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        # Not optimizer.zero_grad(): its first call imports torch._dynamo, which takes more than a
        # second.
        for parameter in self.parameters:
            parameter.grad = None
        value: torch.Tensor | None = None
        for first in range(0, len(index), self.batch_size):
            part = index[first : first + self.batch_size]
            inputs = None if x is None else x[first : first + self.batch_size]
            loss = self._backward(part, inputs, share=len(part) / len(index))
            value = loss if value is None else value + loss
        assert value is not None
        self.clip()
        self.optimizer.step()
        return value

    def _backward(
        self, index: torch.Tensor, x: torch.Tensor | None, *, share: float
    ) -> torch.Tensor:
        """Adds the gradients of a mini-batch. Returns its share of the loss of the step."""
        x = self.data.train_x.index_select(0, index) if x is None else x
        y = self.data.train_y.index_select(0, index)
        with number_format(self.config["run"], self.device):
            output = self.model(x)
            loss = self.loss_function(output, y)
        whole = loss.detach()
        self.loss_sum.add_(whole, alpha=_weight(self.config["loss"], y.numel()))
        self.correct_sum.add_((output.detach().argmax(1) == y).sum())
        if share < 1 and self.config["loss"].get("reduction") == "mean":
            loss = loss * share
        # Autograd's own thread for a GPU costs a third of a step that is launched from Python.
        with torch.autograd.set_multithreading_enabled(False):
            loss.backward()
        return loss.detach()

    def clip(self) -> None:
        """Bounds the gradients of digital parameters; tiles have none, but pulses."""
        largest = float(self.config["optimizer"].get("clip_grad_norm") or 0.0)
        if largest:
            digital = [p for p in self.parameters if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(digital, largest)

    def evaluate(
        self, x: torch.Tensor | None = None, y: torch.Tensor | None = None
    ) -> tuple[float, float]:
        """Loss per label and accuracy on x and y, or on the test set."""
        x, y = (
            (self.data.test_x if x is None else x),
            (self.data.test_y if y is None else y),
        )
        return evaluate(self.model, self.config, x, y)

    def end_epoch(self, seconds: float) -> dict[str, Any]:
        """Evaluate, note the row of the epoch, and step to the next one. `seconds` is the time of
        the run so far."""
        data, count = self.data, self.data.train_y.numel()
        figures = {
            "train": (self.loss_sum.item() / count, self.correct_sum.item() / count)
        }
        if data.valid_x is not None and data.valid_y is not None:
            figures["valid"] = self.evaluate(data.valid_x, data.valid_y)
        figures["test"] = self.evaluate()
        row = {"epoch": self.place.epoch + 1, "lr": self.lr()}
        for part, (loss, accuracy) in figures.items():
            row |= {f"{part}_loss": loss, f"{part}_accuracy": accuracy}
            if data.info.kind == TEXT:
                row[f"{part}_perplexity"] = perplexity(loss)
        row |= {"samples": self.place.samples, "seconds": round(seconds, 3)}
        self.place.rows.append(row)
        self.place.epoch, self.place.batch, self.place.loss, self.place.correct = (
            self.place.epoch + 1,
            0,
            0.0,
            0.0,
        )
        self.loss_sum.zero_()
        self.correct_sum.zero_()
        return row

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of a checkpoint: the model, the optimizer's memory, and torch's random
        state."""
        found = {
            f"model/{k}": v
            for k, v in self.model.state_dict().items()
            if isinstance(v, torch.Tensor)
        }
        for number, parameter in enumerate(self.parameters):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    found[f"optimizer/{number}/{key}"] = value
        found["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["random/cuda"] = torch.cuda.get_rng_state()
        return found

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside tensors."""
        self.place.loss, self.place.correct = (
            self.loss_sum.item(),
            self.correct_sum.item(),
        )
        model = {
            k: v
            for k, v in self.model.state_dict().items()
            if not isinstance(v, torch.Tensor)
        }
        return {"place": asdict(self.place), "model": model}

    def load(
        self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
    ) -> None:
        """Continue from a checkpoint. Raises UserError if it is of another model."""
        own = {
            key.removeprefix("model/"): value
            for key, value in tensors.items()
            if key.startswith("model/")
        }
        try:
            self.model.load_state_dict({**own, **state["model"]})
        except RuntimeError as problem:
            raise UserError(
                f"the checkpoint does not fit the model: {str(problem).splitlines()[-1].strip()}"
            ) from problem
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, number, name = key.split("/", 2)
                parameter = self.parameters[int(number)]
                # Adam counts its steps on the CPU, whatever the processor of the parameters, unless
                # they are replayed.
                stays = name == "step" and self.replayed is None
                self.optimizer.state[parameter][name] = (
                    value if stays else value.to(parameter.device)
                )
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"])
        self.place = place_of(state["place"])
        self.loss_sum.fill_(self.place.loss)
        self.correct_sum.fill_(int(self.place.correct))


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, config: Mapping[str, Any], x: torch.Tensor, y: torch.Tensor
) -> tuple[float, float]:
    """Loss per label and accuracy of a network on inputs and labels, with the loss and batches of
    `config`."""
    model.eval()
    begin_streams(model)
    size = int(config["dataset"].get("test_batch_size") or 500)
    # What is judged is the loss itself.
    loss_function = make_loss({**config["loss"], "label_smoothing": 0.0})
    loss = torch.zeros((), dtype=torch.float64, device=y.device)
    correct = torch.zeros((), dtype=torch.int64, device=y.device)
    for inputs, labels in zip(x.split(size), y.split(size), strict=True):
        with number_format(config["run"], y.device):
            output = model(inputs)
            value = loss_function(output, labels)
        loss.add_(value, alpha=_weight(config["loss"], labels.numel()))
        correct.add_((output.argmax(1) == labels).sum())
    return loss.item() / y.numel(), correct.item() / y.numel()


def _weight(loss: Mapping[str, Any], samples: int) -> int:
    """The factor that makes a batch's loss a sum over its samples."""
    return samples if loss.get("reduction", "sum") == "mean" else 1


def begin_streams(model: torch.nn.Module) -> None:
    """Tells the parts of a network that remember what came before that something else comes now."""
    for part in model.modules():
        begin = getattr(part, "begin_streams", None)
        if callable(begin):
            begin()


def perplexity(loss: float) -> float:
    """e to the mean cross entropy: among how many equally likely signs a guess would be as hard."""
    return math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf
