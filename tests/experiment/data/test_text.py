"""Text: how a file becomes streams, networks that remember, and runs that continue in the middle of
a text."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.experiment.data import load_data
from engine.experiment.loop import Loop, begin_streams
from engine.experiment.losses import LOSSES, make_loss
from engine.settings import UserError
from tests.experiment.helpers import Stopper, analog_config, interrupt, outcome, run

ROOT = Path(__file__).resolve().parents[3]
SENTENCE = "the cells of a crossbar learn from what they are told, and they forget what nobody asks them for.\n"


def settings(path: Path, **changes: Any) -> dict[str, Any]:
    """The group `dataset` for a text."""
    own = {
        "name": "text",
        "path": str(path),
        "batch_size": 3,
        "test_batch_size": 2,
        "sequence_length": 4,
    }
    return {**own, "valid_part": 0.0, "test_part": 0.2, "shuffle": False, **changes}


def written(folder: Path, text: str) -> Path:
    path = folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_streams_go_on_from_batch_to_batch_and_labels_are_what_follows(
    tmp_path: Path,
) -> None:
    signs = "".join(chr(97 + (k * k + k // 7) % 26) for k in range(100))
    order = {sign: number for number, sign in enumerate(sorted(set(signs)))}
    codes = torch.tensor([order[sign] for sign in signs])
    data = load_data(settings(written(tmp_path, signs)))
    assert (
        data.classes == len(order)
        and data.info.shape == (4,)
        and data.info.kind == "text"
    )
    each = 79 // 3
    for stream in range(3):
        rows = codes[stream * each : stream * each + each // 4 * 4]
        assert torch.equal(data.train_x[stream::3].flatten(), rows)
        following = codes[stream * each + 1 : stream * each + 1 + each // 4 * 4]
        assert torch.equal(data.train_y[stream::3].flatten(), following)
    assert torch.equal(data.test_x[0::2].flatten(), codes[80:88]) and torch.equal(
        data.test_x[1], codes[89:93]
    )
    assert data.valid_x is None


def test_a_part_for_validation_lies_before_the_part_for_testing(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(map(chr, range(200, 300))))
    data = load_data(settings(path, valid_part=0.1, test_part=30, test_batch_size=1))
    assert data.valid_x is not None and data.valid_y is not None
    assert data.train_x.max() < 60 and data.valid_x.flatten().tolist() == list(
        range(60, 68)
    )
    assert data.test_x.flatten().tolist() == list(range(70, 98)) and data.valid_y[
        0
    ].tolist() == [
        61,
        62,
        63,
        64,
    ]


def test_marks_and_ends_of_lines_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "ab\r\né\r\n".encode() * 20)
    assert load_data(settings(path)).classes == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no path": (
        {"path": ""},
        r"dataset\.path: text needs the file .* dataset\.path=FILE\.txt",
    ),
    "no file": ({"path": "nowhere.txt"}, r"dataset\.path: no file nowhere\.txt"),
    "shuffled": ({"shuffle": True}, "shuffle=false"),
    "too short": (
        {"sequence_length": 90},
        "100 signs, 80 of them for training, too few for a sample of 90",
    ),
    "no test": (
        {"test_part": 3},
        "3 of them for testing, too few for a sample of 4; lower",
    ),
    "nothing left": ({"test_part": 0.6, "valid_part": 0.6}, "0 of them for training"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_refused_in_one_line(
    tmp_path: Path, name: str
) -> None:
    changes, line = REFUSED[name]
    with pytest.raises(UserError, match=line) as caught:
        load_data({**settings(written(tmp_path, "ab" * 50)), **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_files_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"text\.txt: (the file is empty|cannot be read as UTF-8 text)"
    ):
        load_data(settings(path))


def config(folder: Path, text: str, **changes: Any) -> dict[str, Any]:
    """A small network on cells, for a text."""
    made = analog_config(
        folder / "runs",
        loss={"name": "cross_entropy", "reduction": "mean"},
        optimizer={"lr": 2.0, "momentum": 0.0, "schedule": {"name": "constant"}},
        run={"epochs": 2},
    )
    made["device"] = {"model": "constant_step", "dw_min": 0.002}
    made["model"] = {"name": "char_lstm", "hidden": 12, "layers": 2, "dropout": 0.1}
    made["dataset"] = settings(
        written(folder, text),
        batch_size=8,
        sequence_length=10,
        valid_part=0.1,
        test_part=0.1,
    )
    made["layers"] = {"lstm1": {"algorithm": "digital"}}
    for section, values in changes.items():
        made[section] = {**made[section], **values}
    return made


@pytest.mark.parametrize("name", ["char_lstm", "char_gru", "char_lstm_combined"])
def test_the_state_outlives_a_batch_until_another_text_begins(
    tmp_path: Path, name: str
) -> None:
    made = config(tmp_path, SENTENCE * 20, tile={"forward": {"is_perfect": True}})
    made["model"] = {"name": name, "hidden": 12, "layers": 2, "dropout": 0.1}
    made["layers"] = {}
    loop = Loop(made)
    model, x = loop.model.eval(), loop.data.train_x
    whole = torch.cat([x[0::8][:3].flatten()]).view(1, -1)
    with torch.no_grad():
        begin_streams(model)
        expected = model(whole)
        begin_streams(model)
        found = torch.cat([model(x[0::8][k : k + 1]) for k in range(3)], 2)
        again = model(x[:1])
        begin_streams(model)
        fresh = model(x[:1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fresh, found[:, :, :10], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(again, fresh)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_text_is_that_of_all_its_signs(name: str) -> None:
    loss = make_loss({"name": name, "reduction": "sum"})
    draws = torch.Generator().manual_seed(1)
    output = torch.randn(4, 5, 7, generator=draws).log_softmax(1)
    label = torch.randint(5, (4, 7), generator=draws)
    alone = sum(loss(output[:, :, t], label[:, t]) for t in range(7))
    torch.testing.assert_close(loss(output, label), alone)


def test_metrics_have_the_perplexity_of_every_part(tmp_path: Path) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    folder = run(
        config(
            tmp_path,
            text,
            algorithm={"name": "digital"},
            optimizer={"lr": 4.0},
            run={"epochs": 4},
        )
    )
    with (folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    parts = [
        f"{part}_{figure}"
        for part in ("train", "valid", "test")
        for figure in ("loss", "accuracy", "perplexity")
    ]
    assert list(rows[0]) == ["epoch", "lr", *parts, "samples", "seconds"]
    for part in ("train", "valid", "test"):
        assert float(rows[-1][f"{part}_perplexity"]) == pytest.approx(
            math.exp(float(rows[-1][f"{part}_loss"]))
        )
        assert 0 <= float(rows[-1][f"{part}_accuracy"]) <= 1
    assert (
        float(rows[-1]["test_perplexity"])
        < float(rows[0]["test_perplexity"])
        < len(set(text))
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert (
        summary["test_perplexity"] == float(rows[-1]["test_perplexity"])
        and summary["valid_loss"] > 0
    )


def test_pulses_learn_a_text(tmp_path: Path) -> None:
    folder = run(config(tmp_path, SENTENCE * 30, run={"epochs": 3}))
    with (folder / "metrics.csv").open() as lines:
        losses = [float(row["test_loss"]) for row in csv.DictReader(lines)]
    assert losses[-1] < losses[0] and losses[-1] < math.log(len(set(SENTENCE)))


@pytest.mark.usefixtures("every_step_is_reported")
@pytest.mark.parametrize("at", [(1, 13), (2, 2)])
def test_a_run_goes_on_in_the_middle_of_a_text(
    tmp_path: Path, at: tuple[int, int]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    whole = run(config(tmp_path / "one", SENTENCE * 30))
    again = config(tmp_path / "other", SENTENCE * 30)
    with pytest.raises(KeyboardInterrupt):
        run(again, Stopper(at, interrupt))
    assert outcome(run(again)) == outcome(whole)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "layers", [{}, {"lstm1": {"algorithm": "digital"}}], ids=["pulsed", "one digital"]
)
def test_replayed_batches_go_on_where_the_last_one_ended(
    tmp_path: Path, layers: dict[str, Any]
) -> None:
    left = []
    for graph in (True, False):
        (tmp_path / str(graph)).mkdir()
        made = config(
            tmp_path / str(graph),
            SENTENCE * 60,
            run={"device": "cuda", "graph": graph, "epochs": 3},
        )
        made["layers"] = layers
        assert Loop(made).replayed is not None
        left.append(outcome(run(made)))
    assert left[0] == left[1]
