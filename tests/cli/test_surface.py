"""The public surface, frozen: a change here breaks scripts and recipes of users, so it must be
meant."""

from __future__ import annotations

from aihw_cli.check import dotted
from aihw_cli.compose import compose
from aihw_cli.main import COMMANDS, find_command
from aihw_cli.schema import full_schema
from engine.presets import groups

COMMAND_OPTIONS = {
    "train": {
        "--multirun",
        "--jobs",
        "--gpus",
        "--retries",
        "--fail-fast",
        "--again",
        "--allow-code",
        "--json",
    },
    "resume": {"--jobs", "--gpus", "--retries", "--fail-fast", "--trials", "--changed-program", "--allow-code",
               "--json"},
    "runs": {"--group", "--seeds", "--metric", "--columns", "--sort", "--limit", "--x", "--y", "--error", "--log",
             "--out", "--width", "--xlabel", "--ylabel", "--title", "--csv", "--json"},
    "eval": {"--multirun", "--jobs", "--gpus", "--retries", "--fail-fast", "--again", "--allow-code", "--json"},
    "search": {
        "--trials", "--metric", "--minimize", "--jobs", "--gpus", "--retries", "--fail-fast", "--allow-code", "--json",
    },
    "ls": {"--json"},
    "show": {"--model", "--allow-code", "--json"},
    "cp": set(),
    "validate": {"--as", "--allow-code", "--json"},
    "import": {"--exporter", "--out", "--as-released", "--json"},
    "export": {"--to", "--out", "--metric", "--allow-code"},
    "doctor": {"--json"},
    "completion": set(),
}  # fmt: skip
GROUPS = {
    "device",
    "tile",
    "algorithm",
    "preset",
    "model",
    "dataset",
    "optimizer",
    "run",
}
TOP = {
    "name", "device", "tile", "algorithm", "preset", "model", "dataset", "loss", "optimizer", "run", "layers", "seeds",
    "search",
    "about", "claim", "source", "expected", "tolerance",
}  # fmt: skip
KEYS = {
    "run.epochs", "run.seed", "run.start", "run.device", "run.threads", "run.exact", "run.checkpoint_every", "run.dir",
    "run.graph", "run.dtype", "run.patience", "run.keep_best", "run.log", "run.executor", "run.cluster",
    "optimizer.name", "optimizer.lr", "optimizer.momentum", "optimizer.weight_decay", "optimizer.schedule.name",
    "optimizer.schedule.step_size", "optimizer.schedule.milestones", "optimizer.schedule.gamma",
    "optimizer.tile_lr", "optimizer.warmup", "optimizer.clip_grad_norm", "optimizer.accumulate",
    "optimizer.nesterov", "optimizer.betas", "optimizer.eps",
    "optimizer.schedule.final", "dataset.name", "dataset.root", "dataset.download", "dataset.batch_size",
    "dataset.mean", "dataset.std", "dataset.test_batch_size", "dataset.train_samples", "dataset.test_samples",
    "dataset.normalize", "dataset.transforms", "dataset.augment", "dataset.workers", "dataset.channels",
    "dataset.label", "dataset.split", "dataset.shuffle", "dataset.path",
    "dataset.sequence_length", "dataset.valid_part", "dataset.test_part",
    "loss.name", "loss.reduction", "loss.label_smoothing", "seeds",
    "device.model", "device.dw_min", "tile.forward.out_noise",
    "tile.backward.out_noise", "tile.update.desired_bl", "tile.mapping.max_input_size", "algorithm.name", "model.name",
    "model.weights",
}  # fmt: skip


def test_commands_and_options() -> None:
    found = {
        name: {option.name for option in find_command(name).options}
        for name in COMMANDS
    }
    assert {name: found[name] for name in COMMAND_OPTIONS} == COMMAND_OPTIONS


def test_groups() -> None:
    assert set(groups()) >= GROUPS


def test_keys() -> None:
    schema = full_schema({})
    assert set(schema) >= TOP
    assert set(dotted(schema)) >= KEYS


def test_run_sections_have_exactly_these_keys() -> None:
    sections = ("run", "optimizer", "dataset", "loss")
    found = {
        key
        for key in dotted(full_schema({}))
        if key.startswith(tuple(f"{s}." for s in sections))
    }
    assert found == {
        key for key in KEYS if key.startswith(tuple(f"{s}." for s in sections))
    }


def test_the_choices_of_run_device() -> None:
    assert [
        compose([f"run.device={name}"]).values["run"]["device"]
        for name in ("auto", "cpu", "cuda")
    ]
