"""Settings that are taken are used: those that change nothing are refused, those of a later command
are kept for it, and those of a run that goes on are taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

SMALL = (
    "dataset.train_samples=60",
    "dataset.test_samples=30",
    "run.threads=1",
    "run.epochs=1",
)

REFUSED = {
    "periphery of a digital run": (["algorithm=digital", "tile.forward.out_noise=0.1"], "no layer lies on tiles"),
    "device of a digital run": (["algorithm=digital", "device.dw_min=0.1"], "no layer lies on tiles"),
    "pulses of gradients": (["algorithm=hwa", "device=ideal", "tile.update.desired_bl=3"], "not pulses"),
    "exact way back": (["algorithm=hwa", "device=ideal", "tile.backward.out_noise=0.3"], "analog_backward"),
    "modifier of pulses": (["tile.modifier.std_dev=0.1"], "it needs algorithm=hwa, not sgd"),
    "a perfect read": (["tile.forward.is_perfect=true", "tile.forward.out_noise=0.1"], "is_perfect is true"),
    "a switch that is off": (["device.drift_t_0=3"], "device.drift_nu is 0"),
    "a text's key": (["dataset.sequence_length=7"], "it is for dataset=text, not digits"),
    "another schedule": (["optimizer.schedule.step_size=2"], "schedule.name is"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_changes_nothing_is_refused(aihw, name: str) -> None:
    words, why = REFUSED[name]
    result = aihw("train", *SMALL, *words)
    assert result.code == 2 and not Path("runs").exists()
    assert len(result.err.splitlines()) == 1
    assert (
        f"{words[-1].partition('=')[0]}=" in result.err
        and "has no effect: " in result.err
    )
    assert why in result.err


def test_asking_for_nothing_is_no_mistake(aihw) -> None:
    words = [
        "tile.forward.is_perfect=true",
        "tile.forward.out_noise=0",
        "tile.clip.type=None",
    ]
    assert aihw("train", *SMALL, *words).code == 0


def test_a_member_that_changes_nothing_is_remarked_on(aihw) -> None:
    result = aihw("train", *SMALL, "algorithm=digital", "device=ecram")
    assert (
        result.code == 0 and "note: device=ecram has no effect: no layer" in result.err
    )


SWEEPS = {
    "inference": (["inference=pcm,hermes"], "aihw eval RUN"),
    "a value of inference": (["inference.repeats=1,2"], "aihw eval RUN"),
    "digital periphery": (["algorithm=digital", "tile.forward.out_noise=0.1,0.2"], "no layer lies on tiles"),
    "digital devices": (["algorithm=digital", "device=ecram,capacitor"], "no layer lies on tiles"),
    "threads": (["run.threads=1,2"], "it does not decide a result"),
    "equal numbers": (["optimizer.lr=0.1,1e-1"], "its values mean the same here"),
    "beside another key": (["optimizer.lr=0.1,0.2", "tile.clip.sigma=1,2"], "it needs algorithm=hwa"),
}  # fmt: skip


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_whose_points_cannot_differ_is_refused(aihw, name: str) -> None:
    words, why = SWEEPS[name]
    result = aihw(
        "train",
        "-m",
        *(word for word in SMALL if word.split("=")[0] not in words[0]),
        *words,
    )
    assert result.code == 2 and not list(Path().glob("runs/*/sweep-*"))
    assert "would do the same run each time: " in result.err and why in result.err


def test_a_search_over_a_key_without_effect_is_refused(aihw) -> None:
    result = aihw("search", *SMALL, "tile.modifier.std_dev=interval(0.1,0.2)")
    assert result.code == 2 and "it needs algorithm=hwa" in result.err


def test_points_that_repeat_others_are_counted(aihw) -> None:
    words = ["algorithm=digital,sgd", "device=ecram,capacitor", "run.threads=1"]
    result = aihw("train", "-m", *SMALL[:2], "run.epochs=1", *words)
    assert result.code == 0, result.err
    assert (
        "note: 1 of 4 points repeat another one, in which device has no effect"
        in result.err
    )
    assert len(list(Path().glob("runs/digits/*/summary.json"))) == 3


def test_a_key_that_made_no_difference_is_named_at_the_end(aihw) -> None:
    """The largest reduction of inputs matters only when the ADC clips, which it never does here."""
    words = ["tile.backward.max_bm_factor=300,400", "optimizer.lr=0.1,0.3"]
    result = aihw("train", "-m", *SMALL, *words)
    assert result.code == 0, result.err
    assert "tile.backward.max_bm_factor made no difference" in result.out
    assert "optimizer.lr made no difference" not in result.out


def only_run() -> Path:
    (path,) = Path("runs/digits").glob("*-1")
    return path


def recorded(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_settings_of_inference_reach_a_later_evaluation(aihw) -> None:
    assert aihw("train", *SMALL, "inference=pcm").code == 0
    result = aihw("train", *SMALL, "inference=reram_wan2022", "inference.repeats=2")
    assert result.code == 0 and f"noted for `aihw eval {only_run()}`" in result.out
    assert recorded(only_run())["inference"]["noise_model"] == "reram_wan2022"
    assert (
        aihw("eval", str(only_run()), "inference.times=[1s]", "run.threads=1").code == 0
    )
    (evaluation,) = (only_run() / "eval").iterdir()
    found = recorded(evaluation)["inference"]
    assert (found["noise_model"], found["repeats"]) == ("reram_wan2022", 2)
    assert (
        "noted for"
        not in aihw(
            "train", *SMALL, "inference=reram_wan2022", "inference.repeats=2"
        ).out
    )


def test_settings_of_a_finished_run_that_come_too_late_are_named(aihw) -> None:
    assert aihw("train", *SMALL).code == 0
    result = aihw("train", *SMALL, "run.checkpoint_every=7")
    assert "run.checkpoint_every has no effect: the run is done already" in result.out
    assert recorded(only_run())["run"]["checkpoint_every"] == 0


def interrupted(aihw) -> Path:
    """A run that looks as if it had been interrupted in its last epoch."""
    assert aihw("train", *SMALL, "run.epochs=2").code == 0
    run = only_run()
    (run / "summary.json").unlink()
    newest = sorted((run / "checkpoint").iterdir())[-1]
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    return run


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_run_that_goes_on_takes_what_decides_no_result(aihw, command: str) -> None:
    run = interrupted(aihw)
    words = [*SMALL, "run.epochs=2"] if command == "train" else [str(run)]
    result = aihw(command, *words, "run.checkpoint_every=2")
    assert result.code == 0, result.err
    assert "run.checkpoint_every is now 2 (was 0)" in result.out
    assert recorded(run)["run"]["checkpoint_every"] == 2
    assert len(list((run / "checkpoint").iterdir())) == 2, "it was used"


def test_resume_refuses_what_decides_the_result(aihw) -> None:
    run = interrupted(aihw)
    result = aihw("resume", str(run), "optimizer.lr=0.5")
    assert result.code == 2 and "a run goes on as it began" in result.err
    result = aihw("resume", str(run), "run.checkpoint_every=often")
    assert result.code == 2 and "run.checkpoint_every must be a number" in result.err


def test_eval_refuses_what_it_does_not_use(aihw) -> None:
    assert aihw("train", *SMALL).code == 0
    for word in ("tile.update.desired_bl=3", "run.epochs=9", "inference.verify_band=1"):
        result = aihw("eval", str(only_run()), word)
        assert result.code == 2 and "has no effect" in result.err, word
