"""Datasets: what they hold, where they are looked for, and what is said of files that are missing
or not whole."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from engine import memory
from engine.experiment.data import fingerprint, load_data, sample_order
from engine.experiment.members import member_names
from engine.settings import ROOT, UserError
from tests.experiment.helpers import NAMES, write_idx

SHARED = ROOT.parent / "shared" / "data" / "MNIST" / "raw"


def mnist(root: Path, **more: object) -> dict[str, object]:
    return {"name": "mnist", "root": str(root), "download": False, **more}


def test_digits_are_whole_scaled_and_split_by_class() -> None:
    data = load_data({"name": "digits"})
    assert data.train_x.shape == (1442, 1, 8, 8) and data.test_x.shape == (355, 1, 8, 8)
    assert (
        data.train_x.min() == 0
        and data.train_x.max() == 1
        and data.train_x.dtype == torch.float32
    )
    total = data.train_y.bincount() + data.test_y.bincount()
    assert total.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.test_y.bincount().tolist() == [count // 5 for count in total.tolist()]
    # The first digit of the table is a zero with this first row.
    assert data.train_y[0] == 0 and (data.train_x[0, 0, 0] * 16).tolist() == [
        0,
        0,
        5,
        13,
        9,
        1,
        0,
        0,
    ]


def test_digits_match_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    data = load_data({"name": "digits"})
    ours = torch.cat([data.train_x, data.test_x]).flatten(1).sum(0)
    assert torch.allclose(
        ours, torch.from_numpy(bunch.data).float().div(16).sum(0), atol=1e-2
    )


def test_digits_load_without_importing_scikit_learn_or_torchvision() -> None:
    code = (
        "import sys; from engine.experiment.data import load_data, fingerprint; load_data({'name': 'digits'}); "
        "fingerprint({'name': 'digits'}); print([m for m in ('sklearn', 'torchvision', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("mnist", "."),
        ("mnist", "MNIST/raw"),
        ("mnist", "raw"),
        ("fashion_mnist", "."),
        ("fashion_mnist", "FashionMNIST/raw"),
    ],
)
def test_four_idx_files_are_read_where_they_lie(
    tmp_path: Path, name: str, inside: str, zipped: bool
) -> None:
    write_idx(tmp_path / inside, zipped=zipped)
    data = load_data({"name": name, "root": str(tmp_path)})
    assert data.train_x.shape == (30, 1, 28, 28) and data.test_x.shape == (
        12,
        1,
        28,
        28,
    )
    assert data.train_y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.train_x[3].unique().tolist() == pytest.approx([65 / 255])
    assert data.info.size == 784 and data.info.classes == 10


def test_first_samples_only(tmp_path: Path) -> None:
    write_idx(tmp_path)
    data = load_data(mnist(tmp_path, train_samples=7, test_samples=5))
    assert len(data.train_x) == len(data.train_y) == 7 and len(data.test_x) == 5
    with pytest.raises(UserError, match="has 30, not 31"):
        load_data(mnist(tmp_path, train_samples=31))


def test_missing_folder_says_which_files_where_and_how_to_get_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError) as caught:
        load_data(mnist(tmp_path / "nowhere"))
    text = str(caught.value)
    assert (
        all(name in text for name in NAMES)
        and str(tmp_path / "nowhere" / "MNIST" / "raw") in text
    )
    assert "dataset.download=true" in text and len(text.splitlines()) <= 2


def test_only_the_missing_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)[NAMES[2]].unlink()
    with pytest.raises(UserError) as caught:
        fingerprint(mnist(tmp_path))
    assert NAMES[2] in str(caught.value) and NAMES[0] not in str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_file(tmp_path: Path, zipped: bool) -> None:
    path = write_idx(tmp_path, zipped=zipped)[NAMES[0]]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="truncated") as caught:
        load_data(mnist(tmp_path))
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_truncated_inside_the_gzip_stream(tmp_path: Path) -> None:
    path = write_idx(tmp_path, zipped=True)[NAMES[0]]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(
        UserError, match=r"truncated: its header promises 23536 bytes, it has 23535"
    ):
        load_data(mnist(tmp_path))


def test_a_small_file_that_unpacks_to_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_idx(tmp_path, zipped=True)[NAMES[0]]
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(plain + bytes(64 << 20)))
    read: list[int] = []
    real = gzip.GzipFile.read

    def count(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        found = real(self, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", count)
    with pytest.raises(
        UserError, match=r"too long: its header promises 23536 bytes, it has more"
    ):
        load_data(mnist(tmp_path))
    assert sum(read) == len(plain) + 1


def test_a_header_that_promises_more_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_idx(tmp_path)[NAMES[0]]
    sizes = b"".join(size.to_bytes(4, "big") for size in (10**9, 10**4, 10**4))
    path.write_bytes(bytes((0, 0, 8, 3)) + sizes + bytes(100))
    with pytest.raises(UserError, match="truncated: its header promises 1000000000000"):
        load_data(mnist(tmp_path))
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(UserError, match="of memory at least"):
        load_data(mnist(tmp_path))


def test_file_that_is_too_long(tmp_path: Path) -> None:
    path = write_idx(tmp_path)[NAMES[1]]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="too long"):
        load_data(mnist(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\0\0\x08\x01\0\0\0\x01\x05"]
)
def test_wrong_magic(tmp_path: Path, content: bytes) -> None:
    path = write_idx(tmp_path)[NAMES[0]]
    path.write_bytes(content)
    with pytest.raises(UserError, match="no idx file of 3-dimensional bytes"):
        load_data(mnist(tmp_path))


def test_damaged_gzip(tmp_path: Path) -> None:
    path = write_idx(tmp_path, zipped=True)[NAMES[0]]
    path.write_bytes(b"no gzip at all")
    with pytest.raises(UserError, match="damaged gzip"):
        load_data(mnist(tmp_path))


def test_images_without_their_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", train=30)
    write_idx(tmp_path / "b", train=29)
    (tmp_path / "a" / NAMES[1]).write_bytes((tmp_path / "b" / NAMES[1]).read_bytes())
    with pytest.raises(UserError, match="29 labels for the 30 images"):
        load_data(mnist(tmp_path / "a"))


def test_label_out_of_range(tmp_path: Path) -> None:
    path = write_idx(tmp_path)[NAMES[1]]
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(UserError, match="label 10 is not one of 0 to 9"):
        load_data(mnist(tmp_path))


def test_download_goes_through_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(root: str, download: bool) -> None:
        assert download
        write_idx(Path(root) / "MNIST" / "raw")

    fake = ModuleType("torchvision")
    fake.datasets = SimpleNamespace(MNIST=fetch)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    assert len(load_data(mnist(tmp_path, download=True)).train_y) == 30


def test_download_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(root: str, download: bool) -> None:
        raise RuntimeError("Error downloading train-images\nand more")

    fake = ModuleType("torchvision")
    fake.datasets = SimpleNamespace(MNIST=fetch)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    with pytest.raises(UserError) as caught:
        load_data(mnist(tmp_path, download=True))
    assert str(caught.value).endswith("failed: Error downloading train-images")


def test_fingerprint_follows_the_data_and_not_its_packing(tmp_path: Path) -> None:
    write_idx(tmp_path / "plain")
    write_idx(tmp_path / "zipped", zipped=True)
    write_idx(tmp_path / "other", train=31)
    changed = write_idx(tmp_path / "changed")[NAMES[2]]
    changed.write_bytes(changed.read_bytes()[:-1] + b"\1")
    plain = fingerprint(mnist(tmp_path / "plain"))
    assert plain != fingerprint(mnist(tmp_path / "changed"))
    assert plain == fingerprint(mnist(tmp_path / "zipped"))
    assert plain != fingerprint(mnist(tmp_path / "other"))
    assert plain != fingerprint(
        {"name": "fashion_mnist", "root": str(tmp_path / "plain")}
    )


def test_fingerprint_covers_every_member_of_a_gzip_file(tmp_path: Path) -> None:
    """`cat a.gz b.gz` makes such files; the checksum at their end is that of the last member."""
    paths = write_idx(tmp_path / "a")
    content = paths[NAMES[0]].read_bytes()
    plain, found = fingerprint(mnist(tmp_path / "a")), []
    changed = content[:500] + bytes((content[500] ^ 1,)) + content[501:]
    for whole in (content, changed):
        packed = gzip.compress(whole[:1000]) + gzip.compress(whole[1000:])
        paths[NAMES[0]].unlink(missing_ok=True)
        paths[NAMES[0]].with_name(NAMES[0] + ".gz").write_bytes(packed)
        found.append(fingerprint(mnist(tmp_path / "a")))
    assert found[0] == plain != found[1]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real MNIST is not at {SHARED}")
def test_real_mnist() -> None:
    data = load_data(mnist(SHARED))
    assert data.train_x.shape == (60000, 1, 28, 28) and data.test_x.shape == (
        10000,
        1,
        28,
        28,
    )
    assert data.train_x.double().mean().item() == pytest.approx(0.1306605, abs=1e-6)
    assert data.test_y[:5].tolist() == [7, 2, 1, 0, 4]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    torch.manual_seed(0)
    first = sample_order(1000, 3, 5)
    torch.rand(7)
    assert torch.equal(first, sample_order(1000, 3, 5))
    assert sorted(first.tolist()) == list(range(1000))
    others = [
        sample_order(1000, 3, 6),
        sample_order(1000, 4, 5),
        sample_order(1000, 5, 3),
    ]
    assert not any(torch.equal(first, other) for other in others)


def test_order_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    sample_order(10, 1, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no dataset 'mnst'; nearest: mnist"):
        load_data({"name": "mnst"})
    assert {"digits", "mnist", "fashion_mnist"} <= set(member_names("datasets"))


def test_mean_and_std_normalise_the_inputs() -> None:
    plain, scaled = (
        load_data({"name": "digits"}),
        load_data({"name": "digits", "mean": [0.25], "std": [0.5]}),
    )
    assert torch.equal(scaled.train_x, (plain.train_x - 0.25) / 0.5)
    assert torch.equal(scaled.test_x, (plain.test_x - 0.25) / 0.5)


def test_mean_of_too_many_channels_says_how_many_there_are() -> None:
    with pytest.raises(
        UserError,
        match=r"dataset.mean: digits has 1 channels, so one number or 1, not 2",
    ):
        load_data({"name": "digits", "mean": [0.1, 0.2]})
