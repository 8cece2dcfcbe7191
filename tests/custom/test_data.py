"""Data of the user's: folders of images, arrays, tables, code; transforms, statistics, workers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.experiment.data import dataset_info, fingerprint, load_data
from engine.experiment.feeding.augment import Batches
from engine.settings import UserError
from tests.cli.conftest import Result, write

Aihw = Callable[..., Result]
QUICK = ("run.epochs=1", "algorithm=digital", "model=mlp", "loss.name=nll")


def save_png(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    """A PNG of 8 or 16 bit, grey [H, W] or colour [H, W, 3], written by hand: Pillow has no 16 bit
    in colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = 8 * pixels.dtype.itemsize
    height, width = pixels.shape[:2]
    rows = b"".join(
        b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels
    )

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    colour = 2 if pixels.ndim == 3 else 0
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def classes_of_images(
    root: Path, *, each: int = 10, size: int = 8, shape: tuple[int, ...] = ()
) -> Path:
    """Three classes of images that differ in their brightness."""
    rng = np.random.default_rng(1)
    for number, name in enumerate(("cat", "dog", "owl")):
        for k in range(each):
            pixels = rng.integers(
                80 * number, 80 * number + 60, (size, size, *shape)
            ).astype(np.uint8)
            save_png(root / name / f"{k:02}.png", pixels)
    return root


def settings(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "batch_size": 4, "test_part": 0.2, **more}


def valid_of(given: dict[str, Any]) -> int:
    """The number of validation samples."""
    labels = load_data(given).valid_y
    return 0 if labels is None else len(labels)


def test_a_folder_without_parts_is_split_the_same_way_for_every_seed(
    tmp_path: Path,
) -> None:
    root = classes_of_images(tmp_path)
    given = settings("folder", root=str(root))
    data, same = load_data(given, seed=1), load_data(given, seed=2)
    assert data.train_x.shape == (24, 1, 8, 8) and data.test_x.shape == (6, 1, 8, 8)
    assert torch.equal(
        data.test_x, same.test_x
    ) and data.test_y.bincount().tolist() == [2, 2, 2]
    assert dataset_info(given) == data.info and data.classes == 3
    first = np.array(Image.open(root / "cat" / "00.png"))
    everything = torch.cat([data.train_x, data.test_x])[:, 0]
    assert any(
        torch.equal(image, torch.from_numpy(first) / 255) for image in everything
    )
    before = fingerprint(given)
    save_png(root / "cat" / "00.png", first + 1)
    assert fingerprint(given) != before
    assert valid_of({**given, "valid_part": 0.25}) == 6


def test_a_folder_with_parts(tmp_path: Path) -> None:
    for part, each in (("train", 5), ("val", 2), ("test", 3)):
        classes_of_images(tmp_path / part, each=each, shape=(3,))
    data = load_data(settings("folder", root=str(tmp_path), mean=[0.5], std=[0.5]))
    assert [len(y) for y in (data.train_y, data.valid_y, data.test_y)] == [15, 6, 9]  # type: ignore[arg-type]
    assert data.info.shape == (3, 8, 8) and float(data.valid_x.min()) < 0  # type: ignore[union-attr]
    grey = load_data(settings("folder", root=str(tmp_path), channels=1))
    assert grey.info.shape == (1, 8, 8)
    save_png(tmp_path / "test" / "eel" / "1.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"test has a class eel, which .*train lacks"):
        load_data(settings("folder", root=str(tmp_path)))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_images_of_16_bit_keep_them(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    for name in ("a", "b"):
        for k in (1, 2):
            save_png(tmp_path / name / f"{k}.png", pixels)
    found = load_data(settings("folder", root=str(tmp_path))).train_x[0]
    wanted = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    assert torch.equal(found, torch.from_numpy(wanted.astype(np.float32)) / 65535)


def test_images_of_other_kinds(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (6, 6, 4)).astype(np.uint8)
    for name, mode in (("a", "RGBA"), ("b", "P"), ("c", "CMYK")):
        for k, ending in enumerate(
            ("png", "png") if mode != "CMYK" else ("jpg", "jpg")
        ):
            image = Image.fromarray(colours, "RGBA").convert("RGB").convert(mode)
            (tmp_path / name).mkdir(exist_ok=True)
            image.save(tmp_path / name / f"{k}.{ending}")
    assert load_data(settings("folder", root=str(tmp_path))).info.shape == (3, 6, 6)
    deep = np.full((6, 6), 40000, np.uint16)
    for k in (1, 2):
        (tmp_path / "t" / "x").mkdir(parents=True, exist_ok=True)
        Image.fromarray(deep).save(tmp_path / "t" / "x" / f"{k}.tif")
        save_png(tmp_path / "t" / "y" / f"{k}.png", deep)
    data = load_data(settings("folder", root=str(tmp_path / "t")))
    assert torch.equal(data.train_x, torch.full((2, 1, 6, 6), 40000) / 65535)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"root": "nowhere"}, "dataset.root: no folder nowhere"),
        ({"root": "data/cat"}, r"holds 0 class folders \(none\)"),
        (
            {"transforms": ["Resise"]},
            r"transforms\[0\]: no transform 'Resise'; nearest: Resize",
        ),
        ({"transforms": ["RandomCrop"]}, "it is for dataset.augment"),
        (
            {"transforms": [{"name": "Resize", "sise": 3}]},
            "Resize has no 'sise'; nearest: size",
        ),
        ({"transforms": ["Resize"]}, "Resize: .*missing 1 required"),
        (
            {"augment": [{"name": "RandomCrop", "size": 4}]},
            "makes 1 x 4 x 4 of samples of 1 x 8 x 8",
        ),
        (
            {"augment": [{"name": "RandomCrop", "size": 9}]},
            "cannot be applied to samples of 1 x 8 x 8",
        ),
        ({"augment": [{"name": "Lambda"}]}, "no transform 'Lambda'"),
        ({"augment": "RandomInvert"}, "must be a list of transforms"),
        ({"normalize": True, "mean": [0.1]}, "normalize computes mean and std"),
        ({"mean": [0.1, 0.2]}, "has 1 channels, so one number or 1, not 2"),
        ({"test_part": 0.999}, "class 0 has 10 samples: too few"),
        ({"channels": 2}, "channels must be 0, 1 or 3"),
    ],
)
def test_what_is_wrong_with_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    classes_of_images(tmp_path / "data")
    with pytest.raises(UserError, match=line) as caught:
        load_data({**settings("folder", root="data"), **change})
    assert "\n" not in str(caught.value)


def test_images_of_two_sizes_need_a_transform(tmp_path: Path) -> None:
    root = classes_of_images(tmp_path)
    save_png(root / "owl" / "99.png", np.zeros((9, 7), np.uint8))
    with pytest.raises(
        UserError, match=r"99\.png: 1 x 9 x 7, the first image for train has 1 x 8 x 8"
    ):
        load_data(settings("folder", root=str(root)))
    equal = settings(
        "folder", root=str(root), transforms=[{"name": "Resize", "size": [6, 5]}]
    )
    assert load_data(equal).info.shape == (1, 6, 5) == dataset_info(equal).shape
    (root / "owl" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    with pytest.raises(UserError, match=r"broken\.png: not a whole image"):
        load_data(equal)


def test_statistics_are_computed_and_recorded(aihw: Aihw, folder: Path) -> None:
    classes_of_images(folder / "data", shape=(3,))
    given = settings("folder", root="data", normalize=True)
    data = load_data(given)
    flat = data.train_x.movedim(1, 0).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        flat.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0
    )
    done = aihw(
        "train",
        "dataset=folder",
        "dataset.root=data",
        "dataset.normalize=true",
        *QUICK,
        "--json",
    )
    record = json.loads((Path(json.loads(done.out)["folder"]) / "run.json").read_text())
    assert len(record["normalization"]["mean"]) == 3


def test_augmentation_depends_on_seed_epoch_and_sample_alone(tmp_path: Path) -> None:
    augment = ["RandomHorizontalFlip", {"name": "RandomCrop", "size": 8, "padding": 2}]
    given = settings(
        "folder", root=str(classes_of_images(tmp_path)), augment=augment, normalize=True
    )
    data = load_data(given)
    parts = list(torch.arange(len(data.train_y)).flip(0).split(7))
    state = torch.get_rng_state()
    first = list(Batches(data, seed=1, workers=0).epoch(0, parts))
    assert torch.equal(torch.get_rng_state(), state), (
        "the network's own noise would change"
    )
    for workers, left in ((0, parts[1:]), (2, parts[1:])):
        found = list(Batches(data, seed=1, workers=workers).epoch(0, left))
        assert all(torch.equal(a, b) for a, b in zip(found, first[1:], strict=True))
    other = list(Batches(data, seed=1, workers=0).epoch(1, parts))
    assert not torch.equal(first[0], other[0]) and not torch.equal(
        first[0], data.train_x[parts[0]]
    )
    one = list(Batches(data, seed=1, workers=0).epoch(0, [parts[0][2:3]]))
    assert torch.equal(one[0][0], first[0][2])


def test_augmented_training_resumes_with_the_same_bits(
    aihw: Aihw, folder: Path
) -> None:
    from aihw_cli.compose import compose
    from engine.experiment.loop import Loop

    classes_of_images(folder / "data")
    words = ["dataset=folder", "dataset.root=data", "dataset.batch_size=5", "model=mlp", "run.epochs=2",
             "dataset.augment=[RandomVerticalFlip]", "dataset.valid_part=0.2", "optimizer.lr=0.1"]  # fmt: skip
    config = compose(words).values
    whole, part = Loop(config), Loop(config)
    for _ in whole.steps():
        pass
    steps = part.steps()
    next(steps)
    next(steps)
    again = Loop(config)
    again.load({k: v.clone() for k, v in part.tensors().items()}, part.state())
    for _ in again.steps():
        pass
    for key, value in whole.tensors().items():
        assert torch.equal(value, again.tensors()[key]), key


def arrays(path: Path, **more: Any) -> Path:
    np.savez(path, **more)
    return path


def test_arrays_of_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, y = (
        rng.integers(0, 256, (30, 6, 5, 3)).astype(np.uint8),
        np.arange(30)[:, None] % 3 + 5,
    )
    path = arrays(tmp_path / "a.npz", train_images=x, train_labels=y, test_images=x[:6], test_labels=y[:6],
                  val_images=x[:3], val_labels=y[:3])  # fmt: skip
    data = load_data(settings("npz", path=str(path)))
    assert (
        data.info.shape == (3, 6, 5)
        and data.classes == 3
        and valid_of(settings("npz", path=str(path))) == 3
    )
    assert torch.equal(data.train_x[1], torch.from_numpy(x[1].transpose(2, 0, 1)) / 255)
    assert data.train_y[:4].tolist() == [0, 1, 2, 0]
    rows = arrays(
        tmp_path / "b.npz", X=rng.normal(size=(20, 4)), y=np.array(["on", "off"] * 10)
    )
    data = load_data(settings("npz", path=str(rows)))
    assert (
        data.info.shape == (4,)
        and data.train_x.shape == (16, 4)
        and data.test_y.sum() == 2
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"a": np.zeros(3)}, "holds a; it needs x_train and y_train"),
        ({"x": np.array([{}, {}]), "y": np.arange(2)}, "not a file of plain NumPy arrays"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int)}, "all training samples have the label 0"),
        ({"x": np.zeros((4, 2)), "y": np.arange(3)}, "4 samples and 3 labels"),
        ({"x": np.full((4, 2), np.nan), "y": np.arange(4)}, "numbers that are not finite"),
        ({"x": np.zeros((4, 2)), "y": np.full(4, 0.5)}, "labels are whole numbers or names"),
        (
            {"x_train": np.zeros((4, 2)), "y_train": np.arange(4) % 2,
             "x_test": np.zeros((1, 2)), "y_test": np.array([7])},
            "test has the label 7, which training lacks",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_arrays(
    tmp_path: Path, content: dict[str, Any], line: str
) -> None:
    path = arrays(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=line):
        load_data(settings("npz", path=str(path)))


def test_a_table(aihw: Aihw, folder: Path) -> None:
    lines = [f"{k % 7},{k % 3}.5,{'yes' if k % 7 > 3 else 'no'}" for k in range(40)]
    write(folder / "t.csv", "a,b,kind\n" + "\n".join(lines) + "\n")
    data = load_data(settings("csv", path="t.csv"))
    assert data.train_x.shape == (32, 2) and data.classes == 2
    done = aihw(
        "train", "dataset=csv", "dataset.path=t.csv", "dataset.normalize=true", *QUICK
    )
    assert done.code == 0, done.err
    refused = aihw("train", "dataset=csv", "dataset.path=t.csv", "model=lenet")
    assert "the samples are rows of 2 numbers: model=mlp takes them" in refused.err
    wrong = aihw(
        "train", "dataset=csv", "dataset.path=t.csv", "dataset.label=kindd", *QUICK
    )
    assert "has no column 'kindd'; nearest: kind" in wrong.err
    write(folder / "bad.csv", "a,kind\n1,x\nz,y\n")
    assert (
        "line 3: 'z' is no number"
        in aihw("train", "dataset=csv", "dataset.path=bad.csv", *QUICK).err
    )


DATASETS = '''import torch
from torch.utils.data import Dataset, TensorDataset


class Data(Dataset):
    """Noise in three classes."""

    def __init__(self, root: str = "", train: bool = True) -> None:
        generator = torch.Generator().manual_seed(int(train))
        self.x, self.y = torch.rand(30 if train else 9, 1, 8, 8, generator=generator), torch.arange(30) % 3

    def __len__(self):
        return len(self.x)

    def __getitem__(self, k):
        return self.x[k], int(self.y[k])


def parts(split):
    if split not in ("train", "test"):
        raise ValueError(split)
    return TensorDataset(torch.rand(12, 4), torch.arange(12) % 4)


def whole():
    return TensorDataset(torch.rand(40, 1, 8, 8), torch.arange(40) % 2)


def broken(train):
    return [1 / 0]


def single():
    return [torch.zeros(3)]
'''


def test_a_dataset_in_code(aihw: Aihw, folder: Path) -> None:
    write(folder / "d.py", DATASETS)
    refused = aihw("train", "dataset=d.py:Data", *QUICK)
    assert refused.code == 2 and "dataset.name=d.py:Data runs the code" in refused.err
    done = aihw("train", "dataset=d.py:Data", *QUICK, "--allow-code", "--json")
    assert done.code == 0, done.err
    run = Path(json.loads(done.out)["folder"])
    assert aihw("resume", str(run)).code == 2
    assert (
        aihw(
            "eval",
            str(run),
            "inference.times=[1s]",
            "inference.repeats=1",
            "--allow-code",
        ).code
        == 0
    )
    assert aihw("train", "dataset=d.py:parts", *QUICK, "--allow-code").code == 0
    words = ("dataset=d.py:whole", "dataset.valid_part=0.2", "dataset.test_part=0.3")
    assert aihw("train", *words, *QUICK, "--allow-code").code == 0


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("broken", "d.py line 30 in broken: ZeroDivisionError"),
        ("single", "must give pairs of a sample and its label"),
        ("Dat", "has no dataset 'Dat'; it has Data, broken"),
    ],
)
def test_what_is_wrong_with_a_dataset_in_code(
    aihw: Aihw, folder: Path, name: str, line: str
) -> None:
    write(folder / "d.py", DATASETS)
    done = aihw("train", f"dataset=d.py:{name}", *QUICK, "--allow-code")
    assert done.code == 2 and line in done.err and len(done.err.splitlines()) == 1, (
        done.err
    )


def test_the_class_count_is_checked_at_once(
    aihw: Aihw, networks: Path, folder: Path
) -> None:
    classes_of_images(folder / "data")
    words = (
        "dataset=folder",
        "dataset.root=data",
        "model=nets.py:TinyViT",
        "model.num_classes=10",
    )
    done = aihw("train", *words, "algorithm=digital", "--allow-code")
    assert done.code == 2 and "wants 2 x 3: dataset folder has 3 classes" in done.err


def test_settings_that_a_dataset_does_not_have(aihw: Aihw) -> None:
    done = aihw("train", "dataset.path=x.npz")
    assert (
        "dataset.path=x.npz has no effect: it is for dataset=text or npz or csv"
        in done.err
    )
    assert "has no effect" in aihw("train", "dataset.workers=2").err
