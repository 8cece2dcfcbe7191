"""Files whose figures were stripped, and files with other parameters, are measured from their
set-ups alone."""

import copy
import json

import pytest

from tests.golden.__main__ import main
from tests.golden.compare import compare_case, has_figures
from tests.golden.measure import device_response, training
from tests.golden.measure.io import outputs_of
from tests.golden.measure.training import epochs_of
from tests.golden.runner import run_case
from tests.golden.setups import NotBuilt, described
from tests.golden.shared import GOLDEN, needs_golden

LETTERS = "ABCDEFG"
# Every case of A has kernels of its own, which take minutes to compile.
MEASURED = [*"BCDEFG", pytest.param("A", marks=pytest.mark.slow)]
FIGURES = (
    "mean",
    "mean_se",
    "std",
    "std_se",
    "quantiles",
    "exact",
    "atol",
    "nan_fraction",
)


def cases_of(letter):
    (path,) = (GOLDEN / "public").glob(f"{letter}_*.json")
    return json.loads(path.read_text())["cases"]


def small(case):
    """The same case with as little to compute as its ids allow; seeds train for seven epochs."""
    setup = case["setup"]
    for key in ("n_tiles", "repeats", "repeats_per_tile"):
        if key in setup.get("tile", {}):
            setup["tile"][key] = 2
    if case["name"].startswith("A") and "tile" in setup:
        setup["tile"] |= {"out": 3, "in": 4}
    if "seeds" in setup:
        setup |= {"seeds": 2, "epochs": 7, "sizes": setup["sizes"] | {"samples": 20}}
        kept = [r for r in case["records"] if r["at"]["epoch"] in (0, 1, 6)]
        last = [
            r | {"id": r["id"].replace("epoch6", "epoch7")}
            for r in kept
            if r["at"]["epoch"] == 6
        ]
        case["records"] = [*(r for r in kept if r["at"]["epoch"] < 6), *last]
    return case


def without_figures(case):
    """What is left when only names, places and counts are kept."""
    records = [
        {k: v for k, v in r.items() if k not in FIGURES}
        for r in case.get("records", [])
    ]
    return case | {"records": records}


def without_records(case):
    """What is left when only the set-up is kept, without the name of its category."""
    return {key: case[key] for key in ("name", "setup")}


@pytest.fixture(autouse=True)
def _one_set(monkeypatch):
    """The statistics of a case do not matter here."""
    monkeypatch.setattr(training, "SETS", 1)
    monkeypatch.setattr(device_response, "SETS", 1)


@needs_golden
@pytest.mark.parametrize("letter", MEASURED)
def test_every_case_is_measured_from_a_stripped_file(letter):
    for case in map(small, cases_of(letter)):
        wanted = [record["id"] for record in case.get("records", [])]
        for strip in (without_figures, without_records):
            stripped = strip(copy.deepcopy(case))
            mine, verdict, _ = run_case(stripped, 1)
            assert verdict.passed, (case["name"], verdict.problem)
            if "unsupported" in case:
                assert mine["unsupported"], case["name"]
                continue
            found = [record["id"] for record in mine["records"]]
            assert len(found) == len(set(found)), case["name"]
            if "records" in stripped or letter != "E":
                assert set(found) >= set(wanted), case["name"]


@needs_golden
def test_a_stripped_file_runs_to_its_end(tmp_path, capsys):
    cases = [without_records(small(case)) for case in cases_of("F")]
    path, out = tmp_path / "F.json", tmp_path / "mine.json"
    path.write_text(json.dumps({"schema_version": 1, "cases": cases}))
    assert main([str(path), str(out), "--jobs", "1"]) == 0
    told = capsys.readouterr().out
    assert "FAIL" not in told and told.count("done  ") + told.count("skip  ") == len(
        cases
    )
    assert "skip  F.modifier.PCMNoise: its set-up has only modifier, tile_type" in told
    written = {case["name"]: case for case in json.loads(out.read_text())["cases"]}
    assert set(written) == {case["name"] for case in cases}
    assert written["F.clip.FixedValue"]["records"]


@needs_golden
@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize(
    "figures", [("mean",), ("std", "std_se"), ("mean", "std"), ("exact",), FIGURES]
)
def test_records_with_some_figures_stripped_are_compared_as_far_as_they_go(
    letter, figures
):
    case = next(case for case in cases_of(letter) if "unsupported" not in case)
    for blank in (False, True):
        stripped = copy.deepcopy(case)
        for record in stripped["records"]:
            for key in figures:
                record.pop(key, None)
                if blank:
                    record[key] = None
        verdict = compare_case(stripped, case["records"], 0.0)
        assert verdict.passed and not verdict.missing
        assert has_figures(stripped) is bool(verdict.differences)


def test_the_epochs_of_a_training_are_those_of_its_records():
    assert epochs_of(["mse/epoch0", "mse/epoch5", "w_rmse/epoch17"], 20) == [0, 5, 17]
    assert epochs_of(["mse/epoch0", "mse/epoch25"], 20) == [0], (
        "it is not trained that long"
    )
    assert epochs_of([], 60) == [0, 1, 2, 3, 6, 12, 18, 24, 33, 42, 51, 60]
    assert epochs_of([], 8) == [0, 1, 2, 3, 4, 6, 7, 8]


def test_the_outputs_of_a_product_are_those_of_its_records():
    assert outputs_of(["y/x0/out3", "y/x1/out7", "error/x0"], 10) == [3, 7]
    assert outputs_of([], 16) == [0, 3, 6, 9, 12, 15]


def test_what_a_set_up_lacks_is_named():
    setup = described({"tile": {"out": 2}, "device": {"class": "ConstantStepDevice"}})
    with pytest.raises(NotBuilt, match="the set-up without protocol"):
        setup["protocol"]
    with pytest.raises(NotBuilt, match="ConstantStepDevice without dw_min"):
        setup["device"]["dw_min"]
    case = {"name": "E.x", "setup": {"sizes": {"in": 2}}}
    mine, verdict, _ = run_case(case, 1)
    assert mine is None and " without " in verdict.problem


# Other values of every kind of parameter, in every place where the public files have an object.
ENUMS = {
    "pulse_type": ("None", "StochasticCompressed", "Stochastic", "NoneWithDevice", "MeanCount",
                   "DeterministicImplicit"),
    "noise_management": ("None", "AbsMax", "AbsMaxNPSum", "Max", "Constant", "AverageAbsMax"),
    "bound_management": ("None", "Iterative", "IterativeWorstCase", "Shift"),
    "mv_type": ("OnePass", "PosNegSeparate", "PosNegSeparateDigitalSum"),
    "w_noise_type": ("None", "AdditiveConstant", "PCMRead"),
    "update_policy": ("All", "SingleFixed", "SingleSequential", "SingleRandom"),
    "tile_type": ("cpp", "torch"),
    "direction": ("forward", "backward"),
}  # fmt: skip
TYPES = {
    "WeightModifierParameter": ("None", "Copy", "Discretize", "MultNormal", "AddNormal", "DiscretizeAddNormal",
                                "DoReFa", "Poly", "PCMNoise", "DropConnect", "ProgNoise"),
    "WeightClipParameter": ("None", "FixedValue", "LayerGaussian", "AverageChannelMax"),
    "WeightRemapParameter": ("None", "LayerwiseSymmetric", "ChannelwiseSymmetric"),
}  # fmt: skip
NAMED = (
    " must ",
    " need",
    "unknown",
    "parameters ",
    " with ",
    " has no ",
    " without ",
    "device class",
)


def changes_of(values, where=()):
    """Places in a set-up, each with another value of its kind."""
    for key, value in values.items():
        place = (*where, key)
        if isinstance(value, dict):
            yield from changes_of(value, place)
        elif key == "type" and values.get("class") in TYPES:
            yield from ((place, kind) for kind in TYPES[values["class"]])
        elif key in ENUMS:
            yield from ((place, kind) for kind in ENUMS[key])
        elif isinstance(value, bool):
            yield place, not value
        elif isinstance(value, int | float) and "class" in values:
            yield place, value * 2 if value else 1


@needs_golden
@pytest.mark.parametrize("letter", MEASURED)
def test_other_parameters_are_measured_or_named(letter):
    """Every kind of object once; a parameter that is refused is named, with what is allowed."""
    seen = set()
    for case in cases_of(letter):
        if "unsupported" in case:
            continue
        base = without_records(small(case))
        for place, value in changes_of(base["setup"]):
            kind = (place[-2:], str(value))
            if kind in seen:
                continue
            seen.add(kind)
            changed = copy.deepcopy(base)
            inner = changed["setup"]
            for part in place[:-1]:
                inner = inner[part]
            inner[place[-1]] = value
            _, verdict, _ = run_case(changed, 1)
            told = verdict.problem
            assert not told or any(word in told for word in NAMED), (
                case["name"],
                place,
                told,
            )
    assert len(seen) > 10


@needs_golden
@pytest.mark.parametrize("sizes", [{"in": 3, "out": 2}, {"in": 30, "out": 7}])
@pytest.mark.parametrize("letter", "ABCEFG")
def test_other_sizes_are_measured(letter, sizes):
    case = next(case for case in cases_of(letter) if "unsupported" not in case)
    case = without_records(small(case))
    place = "sizes" if "sizes" in case["setup"] else "tile"
    case["setup"][place] |= sizes
    if letter == "F":
        case["setup"]["rows"] = case["setup"]["rows"][: sizes["out"]]
    mine, verdict, _ = run_case(case, 1)
    assert not verdict.problem and mine["records"]
