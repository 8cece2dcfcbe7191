"""A dataset of the user's: `dataset=my.py:Data`, a class or function that gives pairs of a sample
and its label.

It is called once for each part if it takes `split` ('train', 'test', 'valid') or `train` (true or
false), as those of torchvision do; else a share of each class is for testing. `root`, `path` and
`download` are handed on where it takes them."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.experiment.custom.arguments import arguments_of
from engine.experiment.feeding.arrays import labels, samples
from engine.experiment.feeding.split import held_out
from engine.settings import UserError, user_path
from engine.trust.code import code_permitted
from engine.trust.load import CodeError, load_code, shown_name, user_code

if TYPE_CHECKING:
    from engine.experiment.data import Data, Info

HANDED_ON = ("root", "path", "download")
SPLIT, TRAIN = "split", "train"


@dataclass(frozen=True)
class Custom:
    """A class or function of the user's, in the form of a member of `datasets`."""

    name: str
    make: Callable[..., Any]
    path: Path
    ABOUT: str
    SOURCE: str = ""

    def files(self, settings: Mapping[str, Any]) -> list[Path]:
        """The file of the code: what it reads itself, only it knows."""
        return [self.path]

    def content(self, settings: Mapping[str, Any]) -> str:
        """A digest of all samples and labels, wherever they come from."""
        data = self.load(settings)
        digest = hashlib.sha256()
        for part in (
            data.train_x,
            data.train_y,
            data.test_x,
            data.test_y,
            data.valid_x,
        ):
            if part is not None:
                digest.update(f"{tuple(part.shape)}\n".encode())
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def info(self, settings: Mapping[str, Any]) -> Info:
        """Shape of a sample and number of classes."""
        return self.load(settings).info

    def load(self, settings: Mapping[str, Any]) -> Data:
        """All samples in memory; a run asks several times, and the code runs once."""
        given = {key: settings.get(key) for key in (*HANDED_ON, "test_part")}
        return _load(self, json.dumps(given), code_permitted())


def find(name: str) -> Custom:
    """The dataset of `path/to/file.py:Name` or `package.module:Name`. Raises UserError without
    permission, and for what is none."""
    code = load_code(name, "dataset")
    members, attribute = vars(code.module), name.partition(":")[2]
    found = members.get(attribute)
    if not callable(found):
        own = [
            key
            for key, value in members.items()
            if callable(value)
            and getattr(value, "__module__", "") == code.module.__name__
        ]
        raise UserError(
            f"{code.path} has no dataset {attribute!r}; it has {', '.join(sorted(own)) or 'none'}"
        )
    return Custom(
        name, found, code.path, (inspect.getdoc(found) or "").partition("\n")[0]
    )


@functools.lru_cache(maxsize=2)
def _load(dataset: Custom, settings: str, permitted: bool) -> Data:
    """The samples of a dataset by its settings, kept for whoever asks next."""
    from engine.experiment.data import Data

    given = json.loads(settings)
    what = f"dataset {shown_name(dataset.name)}"
    parts = {name: _part(dataset, what, given, name) for name in _names(dataset)}
    found = {name: part for name, part in parts.items() if part is not None}
    x = {
        name: samples(f"{what}: {name}", values) for name, (values, _) in found.items()
    }
    y, classes = labels(what, {name: truth for name, (_, truth) in found.items()})
    if "test" not in x:
        test = held_out(y["train"], {"name": dataset.name, **given})
        x = {"train": x["train"][~test], "test": x["train"][test]}
        y = {"train": y["train"][~test], "test": y["train"][test]}
    return Data(
        x["train"],
        y["train"],
        x["test"],
        y["test"],
        classes,
        x.get("valid"),
        y.get("valid"),
    )


def _names(dataset: Custom) -> tuple[str, ...]:
    """The parts that it is asked for."""
    taken = _taken(dataset)
    if SPLIT in taken:
        return ("train", "test", "valid")
    return ("train", "test") if TRAIN in taken else ("train",)


def _taken(dataset: Custom) -> set[str]:
    return {*arguments_of(dataset.make)}


def _part(dataset: Custom, what: str, given: Mapping[str, Any], name: str) -> Any:
    """Samples and labels of a part as arrays; None for a validation part that it does not have."""
    import numpy as np

    taken = _taken(dataset)
    values = {
        key: given[key]
        for key in HANDED_ON
        if key in taken and given.get(key) is not None
    }
    for key in ("root", "path"):
        if values.get(key):
            values[key] = str(user_path(values[key]))
    if SPLIT in taken:
        values[SPLIT] = name
    elif TRAIN in taken:
        values[TRAIN] = name == "train"
    try:
        with user_code(dataset.path, what):
            made = dataset.make(**values)
            pairs = [made[number] for number in range(len(made))]
    except CodeError as error:
        # Only some have a part for validation: the others do not know its name.
        if name == "valid" and isinstance(error.__cause__, ValueError | KeyError):
            return None
        raise
    if not pairs:
        raise UserError(f"{what}: its part {name} is empty")
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise UserError(f"{what} must give pairs of a sample and its label")
    arrays = [np.asarray(sample) for sample, _ in pairs]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise UserError(
            f"{what}: samples of different shapes, such as {sorted(shapes)[:2]}"
        )
    return np.stack(arrays), np.asarray([_label(label) for _, label in pairs])


def _label(label: Any) -> Any:
    """A label that may be a tensor or an array of one number."""
    return label.item() if hasattr(label, "item") else label
