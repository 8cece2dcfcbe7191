"""Settings of a run that are not physics: dataset, loss, optimizer, run; each with meaning and
range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.config.fields import setting
from engine.config.sections import Settings
from engine.experiment.writers import writer_names

EXECUTORS = ("local", "submitit", "ray")
OPTIMIZERS = ("analog_sgd", "sgd", "adam", "adamw")
SHAPES = ("constant", "step", "multistep", "exponential", "cosine")


@dataclass
class Dataset(Settings):
    """Where the samples come from and how they are fed."""

    name: str = setting("digits", "which dataset")
    root: str = setting("data", "folder that holds the files of the dataset")
    download: bool = setting(False, "fetch missing files into root")
    batch_size: int = setting(
        10, "samples in a training step", minimum=1, maximum=2**63 - 1
    )
    test_batch_size: int = setting(
        500, "samples in an evaluation step", minimum=1, maximum=2**63 - 1
    )
    train_samples: int = setting(
        0, "use only the first n training samples; 0 = all", minimum=0
    )
    test_samples: int = setting(
        0, "use only the first n test samples; 0 = all", minimum=0
    )
    mean: list[float] = setting(
        [],
        "subtracted from the inputs: a number, or one a channel; empty = nothing",
        longest=None,
    )
    std: list[float] = setting(
        [],
        "inputs are divided by it after that: a number, or one a channel",
        above=0,
        longest=None,
    )
    normalize: bool = setting(
        False,
        "subtract the mean of the training samples and divide by their deviation, by channel",
    )
    transforms: list[Any] = setting(
        [],
        "transforms of torchvision for all samples, by name: Resize, CenterCrop, Pad, Grayscale",
        item=object,
        longest=None,
    )
    augment: list[Any] = setting(
        [],
        "random transforms of torchvision for training samples, by name, see docs/your_data.md",
        item=object,
        longest=None,
    )
    workers: int = setting(
        0,
        "processes that augment samples, and threads that read images; 0 = none",
        minimum=0,
    )
    channels: int = setting(
        0,
        "channels of images in folders: 1 or 3; 0 = as in the files",
        minimum=0,
        maximum=3,
    )
    label: str = setting("", "the column of the labels; empty = the last one (csv)")
    split: str = setting("", "which collection of the dataset (emnist)")
    shuffle: bool = setting(
        True, "draw a new order of the training samples for each epoch"
    )
    path: str = setting("", "the file to learn (text, npz, csv)")
    sequence_length: int = setting(
        100, "signs in a sample, over which gradients travel back (text)", minimum=1
    )
    valid_part: float = setting(
        0.0,
        "share of the training samples (of a text: the part before the test part) that is not learned "
        "but judged after each epoch, to choose by; below 1",
        minimum=0,
    )
    test_part: float = setting(
        0.1,
        "share for testing: of each class (folder, npz, csv), or of the end of a text, where >= 1 is "
        "a number of characters",
        above=0,
    )


@dataclass
class Loss(Settings):
    """What is minimised."""

    name: str = setting("nll", "loss function", choices=("nll", "cross_entropy", "mse"))
    label_smoothing: float = setting(
        0.0,
        "share of a label that is spread over all classes, in training",
        minimum=0.0,
        maximum=1.0,
    )
    reduction: str = setting(
        "sum", "how the losses of a batch are joined", choices=("sum", "mean")
    )


@dataclass
class Schedule(Settings):
    """How the learning rate changes from epoch to epoch."""

    name: str = setting("constant", "shape of the schedule", choices=SHAPES)
    step_size: int = setting(
        1, "epochs between two reductions (step)", unit="epoch", minimum=1
    )
    milestones: list[int] = setting(
        [],
        "epochs after which the rate is reduced (multistep)",
        unit="epoch",
        minimum=0,
        item=int,
        longest=None,
    )
    gamma: float = setting(
        0.1,
        "factor of one reduction (step, multistep), or of an epoch (exponential)",
        minimum=0.0,
    )
    final: float = setting(0.0, "learning rate at the last epoch (cosine)", minimum=0.0)


@dataclass
class Optimizer(Settings):
    """One optimizer step. Only lr acts on tiles that learn by pulses, all on what learns by
    gradients."""

    name: str = setting(
        "analog_sgd",
        "optimizer of digital parameters; tiles learn by pulses",
        choices=OPTIMIZERS,
    )
    lr: float = setting(0.01, "learning rate", minimum=0.0)
    tile_lr: float = setting(
        0.0,
        "learning rate of tiles that learn by pulses; 0 = lr (analog_sgd, sgd) or 0.1 (adam, adamw)",
        minimum=0.0,
    )
    warmup: int = setting(
        0,
        "steps over which learning rates grow from 0 to their value",
        unit="step",
        minimum=0,
    )
    clip_grad_norm: float = setting(
        0.0,
        "largest norm of all gradients of digital parameters together; 0 = any",
        minimum=0.0,
    )
    accumulate: int = setting(
        1, "mini-batches whose gradients make one step", minimum=1
    )
    momentum: float = setting(
        0.0, "momentum (analog_sgd, sgd)", minimum=0.0, maximum=1.0
    )
    nesterov: bool = setting(False, "Nesterov's momentum (analog_sgd, sgd)")
    betas: list[float] = setting(
        [0.9, 0.999],
        "decay of both running means (adam, adamw)",
        minimum=0.0,
        maximum=1.0,
        length=2,
    )
    eps: float = setting(
        1e-8, "added to the root of the second one (adam, adamw)", minimum=0.0
    )
    weight_decay: float = setting(
        0.0, "weight decay; decoupled from the gradient in adamw", minimum=0.0
    )
    schedule: Schedule = field(default_factory=Schedule, metadata={})


@dataclass
class Run(Settings):
    """How long, from which seed, on what, and where the results go."""

    epochs: int = setting(
        5, "passes over the training samples", unit="epoch", minimum=1
    )
    seed: int = setting(
        1,
        "fixes weights, device variations, noise and data order",
        minimum=0,
        maximum=2**63 - 1,
    )
    device: str = setting(
        "auto",
        "processor; auto takes a GPU where one works",
        choices=("auto", "cpu", "cuda"),
    )
    start: str = setting(
        "",
        "run folder, or file of tensors, from whose weights training starts; empty = new ones",
    )
    threads: int = setting(
        0,
        "CPU threads of the kernels, and of torch where layers are large; auto or 0 = all",
        minimum=0,
        maximum=512,
        word="auto",
    )
    exact: bool = setting(False, "the same bits at any number of threads, slower")
    graph: bool = setting(
        True,
        "a GPU replays training steps as one graph where it can: same bits, faster",
    )
    dtype: str = setting(
        "float32",
        "Number format in which digital layers compute; tiles and all stored weights are float32.",
        choices=("float32", "bfloat16"),
    )
    patience: int = setting(
        0,
        "epochs without a better valid_accuracy after which training ends; 0 = never",
        unit="epoch",
        minimum=0,
    )
    keep_best: bool = setting(
        False,
        "keep the network of the epoch with the best valid_accuracy beside the last one",
    )
    checkpoint_every: int = setting(
        0, "optimizer steps between checkpoints; 0 = every epoch", minimum=0
    )
    dir: str = setting("runs", "folder that receives the run folders")
    log: list[str] = setting(
        [],
        "programs that receive the metrics as well",
        choices=writer_names(),
        item=str,
    )
    executor: str = setting(
        "local",
        "who does the runs: this machine, Slurm, or a Ray cluster",
        choices=EXECUTORS,
    )
    cluster: dict[str, Any] = setting(
        {}, "settings of that executor, see docs/sweeps.md"
    )


__all__ = ("setting",)  # tasks take it from here
SECTIONS: dict[str, type] = {
    "dataset": Dataset,
    "loss": Loss,
    "optimizer": Optimizer,
    "run": Run,
}
