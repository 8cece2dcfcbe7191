"""CIFAR-10 in its binary form, what is said of files that are not, and convolutional networks on
it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.experiment.build import build
from engine.experiment.data import Info, fingerprint, load_data
from engine.experiment.train import train
from engine.nn import AnalogConv2d, analog_tiles
from engine.settings import UserError
from tests.experiment.helpers import Recorder, analog_config, outcome, small_config

COLOUR = Info((3, 32, 32), 10)
CPU = torch.device("cpu")


def write_cifar(folder: Path, *, each: int = 4) -> Path:
    """Six small files; the image of label n in file k is 20 n + k in red, 100 in green, its column
    in blue."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(
        [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    ):
        records = np.zeros((each, 3073), np.uint8)
        records[:, 0] = (np.arange(each) + number) % 10
        pixels = records[:, 1:].reshape(each, 3, 32, 32)
        pixels[:, 0] = (20 * records[:, 0] + number)[:, None, None]
        pixels[:, 1], pixels[:, 2] = 100, np.arange(32)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def cifar(root: Path, **more: Any) -> dict[str, Any]:
    return {"name": "cifar10", "root": str(root), "download": False, **more}


@pytest.mark.parametrize("inside", [".", "cifar-10-batches-bin"])
def test_binary_files_are_read_as_they_are(tmp_path: Path, inside: str) -> None:
    write_cifar(tmp_path / inside)
    data = load_data(cifar(tmp_path))
    assert data.train_x.shape == (20, 3, 32, 32) and data.test_x.shape == (4, 3, 32, 32)
    assert data.train_y.tolist() == [(k + n) % 10 for n in range(5) for k in range(4)]
    red = data.train_x[:, 0].flatten(1).mul(255).round()
    assert red.eq(
        (20 * data.train_y + torch.arange(5).repeat_interleave(4)).view(-1, 1)
    ).all()
    assert torch.equal(data.train_x[7, 2, 5].mul(255).round(), torch.arange(32.0))
    assert data.info == COLOUR and data.train_x.dtype == torch.float32


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    whole = load_data(cifar(tmp_path))
    part = load_data(cifar(tmp_path, train_samples=6, test_samples=1))
    assert torch.equal(part.train_x, whole.train_x[:6]) and torch.equal(
        part.test_y, whole.test_y[:1]
    )
    assert part.train_x.untyped_storage().nbytes() == 6 * 3072 * 4
    with pytest.raises(UserError, match="cifar10 has 20, not 21"):
        load_data(cifar(tmp_path, train_samples=21))


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    first = fingerprint(cifar(write_cifar(tmp_path / "a")))
    assert first == fingerprint(cifar(write_cifar(tmp_path / "b")))
    assert first != fingerprint(cifar(write_cifar(tmp_path / "c", each=5)))


def damage_size(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_label(path: Path) -> None:
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (damage_size, "test_batch.bin: not whole: 12291 bytes are no multiple of 3073"),
        (damage_label, "test_batch.bin: no CIFAR-10 file: it has a label 11"),
        (Path.unlink, r"no test_batch.bin in .*\n.*dataset.download=true"),
    ],
)
def test_files_that_are_wrong_are_named(tmp_path: Path, damage: Any, line: str) -> None:
    damage(write_cifar(tmp_path) / "test_batch.bin")
    with pytest.raises(UserError, match=line):
        load_data(cifar(tmp_path))


def test_a_pickle_that_is_not_the_published_one_is_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (
        *(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch",
        "batches.meta",
    ):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    for root in (tmp_path, folder):
        with pytest.raises(UserError, match="not the published files"):
            load_data(cifar(root))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("model", "layers"), [("vgg8", 8), ("resnet", 8), ("resnet", 20)]
)
def test_networks_learn_on_tiles(tmp_path: Path, model: str, layers: int) -> None:
    deep = (
        {"blocks": (layers - 2) // 6, "width": 4}
        if model == "resnet"
        else {"hidden": 16}
    )
    config = {**analog_config(tmp_path), "model": {"name": model, **deep}, "layers": {}}
    network, optimizer = build(config, COLOUR, CPU)
    tiles = list(analog_tiles(network))
    assert len(tiles) >= layers
    before = [tile.get_weights() for tile in tiles]
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert not any(
        torch.equal(tile.get_weights(), old)
        for tile, old in zip(tiles, before, strict=True)
    )


def test_settings_of_single_layers(tmp_path: Path) -> None:
    config = {**analog_config(tmp_path), "model": {"name": "vgg8", "hidden": 16}}
    config["layers"] = {
        "conv1": {"algorithm": "digital"},
        "conv2": {
            "device": {"dw_min": 0.02},
            "tile": {"mapping": {"max_input_size": 128}},
        },
        "fc2": {"device": {"model": "constant_step", "dw_min": 0.003}},
    }
    network, _ = build(config, COLOUR, CPU)
    convolutions = [m for m in network if isinstance(m, torch.nn.Conv2d | AnalogConv2d)]
    assert [type(m).__name__ for m in convolutions] == ["Conv2d", *["AnalogConv2d"] * 5]
    specs = [next(analog_tiles(m)).tile.spec for m in (*convolutions[1:3], network[-2])]
    assert [(s.device.model, s.device.params["dw_min"]) for s in specs] == [
        ("soft_bounds", 0.02), ("soft_bounds", 0.01), ("constant_step", 0.003),
    ]  # fmt: skip
    assert [len(list(analog_tiles(m))) for m in convolutions[1:3]] == [4, 1]


def test_images_that_are_too_small_are_refused(tmp_path: Path) -> None:
    for name in ("vgg8", "resnet"):
        with pytest.raises(
            UserError, match=f"model {name}: images must be 8 x 8 at least, not 4 x 8"
        ):
            build(
                small_config(tmp_path) | {"model": {"name": name}},
                Info((1, 4, 8), 10),
                CPU,
            )
    with pytest.raises(
        UserError, match="blocks and width must be 1 at least, not 0 and 16"
    ):
        build(
            small_config(tmp_path) | {"model": {"name": "resnet", "blocks": 0}},
            COLOUR,
            CPU,
        )


def test_the_residual_network_of_joshi_and_others_has_their_number_of_weights(
    tmp_path: Path,
) -> None:
    model = {"name": "resnet", "blocks": 5, "growth": [1.0, 1.75, 3.5], "project": True}
    network, _ = build(small_config(tmp_path) | {"model": model}, COLOUR, CPU)
    norms = sum(
        p.numel()
        for m in network.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
        for p in m.parameters()
    )
    assert sum(p.numel() for p in network.parameters()) - norms == 361_722
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(
        UserError,
        match=r"growth must be three factors, none below the last, not \[2.0, 1.0\]",
    ):
        build(
            small_config(tmp_path)
            | {"model": {"name": "resnet", "growth": [2.0, 1.0]}},
            COLOUR,
            CPU,
        )


def test_a_residual_network_trains_twice_alike(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data")
    outcomes = []
    for folder in ("a", "b"):
        config = analog_config(
            tmp_path,
            dataset={**cifar(tmp_path / "data"), "train_samples": 0, "test_samples": 0},
        )
        config |= {
            "model": {"name": "resnet", "width": 4},
            "layers": {"fc": {"algorithm": "digital"}},
        }
        config["run"] = {**config["run"], "epochs": 1}
        train(config, tmp_path / folder, Recorder())
        outcomes.append(outcome(tmp_path / folder))
    assert outcomes[0] == outcomes[1]
    assert any("running_mean" in name for name in outcomes[0][0])
