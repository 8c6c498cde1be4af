"""Files of fitted laws, settings of fits and files of devices: as strict as a run table."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moewright
from moewright import UserError, laws
from moewright.designs.space import Space
from moewright.hardware.devices import load_device
from moewright.laws.prediction import _ask
from tests.commands.test_law_commands import experts, moe_layers
from tests.laws.tables import synthetic_dense, synthetic_zhao

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The file of a law fitted to a synthetic table."""
    path = tmp_path_factory.mktemp("law") / "law.json"
    laws.fit_law("hoffmann2022", synthetic_dense(0, rows=30), bootstrap=8).save(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def put(*place: Any, value: Any) -> Change:
    """A change that sets what stands at a place."""

    def change(values: dict[str, Any]) -> None:
        at: Any = values
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value

    return change


BROKEN: dict[str, tuple[Change, str]] = {
    "NaN": (put("coefficients", "E", value=math.nan), "coefficients.E: Input should be a finite number"),
    "infinity": (put("coefficients", "A", value=math.inf), "coefficients.A: Input should be a finite number"),
    "text for a number": (put("coefficients", "E", value="1.7"), "coefficients.E: Input should be a valid number"),
    "true for a number": (put("coefficients", "E", value=True), "coefficients.E: Input should be a valid number"),
    "null for a number": (put("coefficients", "E", value=None), "coefficients.E: Input should be a valid number"),
    "a negative asymptote": (put("coefficients", "E", value=-100.0), "coefficients E: -100 must be 0 or more"),
    "a negative size": (put("coefficients", "A", value=-1.0), "coefficients A: -1 must be 0 or more"),
    "an unknown coefficient": (put("coefficients", "F", value=1.0), "no coefficient 'F'"),
    "a missing coefficient": (lambda v: v["coefficients"].pop("E"), "the coefficient E is missing"),
    "an unknown key": (put("coeficients", value={}), "coeficients: unknown key; did you mean coefficients?"),
    "an inverted range": (put("ranges", "train_tokens", value=[2e10, 1e9]), "expected [low, high], found 2e+10 above"),
    "half a range": (put("ranges", "train_tokens", value=[1e9]), "ranges.train_tokens"),
    "a range of nothing": (put("ranges", "train_tokens", value=[0.0, 1e9]), "train_tokens must be above 0"),
    "a range of text": (put("ranges", "train_tokens", value=["1e9", "2e9"]), "ranges.train_tokens[0]"),
    "an unknown variable": (put("ranges", "top_k", value=[1.0, 2.0]), "no variable 'top_k'"),
    "a missing variable": (lambda v: v["ranges"].pop("train_tokens"), "needs the variable train_tokens"),
    "a status object": (put("status", value={"word": "converged"}), "status: Input should be 'converged'"),
    "a status of one's own": (put("status", value="perfect"), "status: Input should be 'converged'"),
    "draws of another form": (put("draws", value=[[1.0, 2.0]]), "draws do not have 5 coefficients each"),
    "flat draws": (put("draws", value=[1.0] * 10), "draws do not have 5 coefficients each"),
    "draws of unlike lengths": (put("draws", 0, value=[1.0]), "draws: lists of unlike lengths"),
    "draws of text": (put("draws", 0, 0, value="1.5"), "draws: a list of numbers is expected"),
    "a draw that is true": (put("draws", 0, 0, value=True), "draws: a list of numbers is expected"),
    "a draw that is none": (put("draws", 0, 0, value=None), "draws: a list of numbers is expected"),
    "a draw that is infinite": (put("draws", 0, 0, value=math.inf), "draws: a number in it is not finite"),
    "a draw below 0": (lambda v: [row.__setitem__(slice(None), [-1.0] * 5) for row in v["draws"]], "must be 0 or more"),
    "residuals of other rows": (put("residuals", value=[0.0]), "one number per row"),
    "residuals that are NaN": (put("residuals", 3, value=math.nan), "residuals: a number in it is not finite"),
    "weights below 0": (put("weights", 3, value=-1.0), "weights are 0 or more"),
    "no weights": (lambda v: v.update(weights=[0.0] * 30), "not all 0"),
    "rows below 1": (put("num_rows", value=0), "num_rows: Input should be greater"),
    "more clusters than rows": (put("num_clusters", value=31), "more configurations than rows"),
    "a whole number with a point": (put("num_rows", value=30.0), "num_rows: Input should be a valid integer"),
    "a negative error": (put("rmse", value=-0.1), "rmse: Input should be greater"),
    "a digest that is none": (put("data_sha256", value="abc"), "data_sha256"),
    "an unknown law": (put("law", value="hofmann2022"), "did you mean hoffmann2022?"),
    "another format": (put("format", value="moewright-run/1"), "not a fitted law"),
    "a bound with one end": (put("settings", "bound", value={"E": [1.0]}), "settings.bound.E"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_law_that_cannot_be_is_refused(name: str, good: dict[str, Any], tmp_path: Path) -> None:
    change, said = BROKEN[name]
    values = copy.deepcopy(good)
    change(values)
    (tmp_path / "law.json").write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        laws.load(tmp_path / "law.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'law.json'}: ")


_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.just([]), st.just({}),
    st.just([1.0]), st.just({"a": 1.0}),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_change_of_a_law_is_refused_or_predicts_a_loss(
    data: st.DataObject, good: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = copy.deepcopy(good)
    at: Any = values
    while True:
        key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        if not (isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans())):
            break
        at = at[key]
    at[key] = data.draw(_ODD)
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_text(json.dumps(values))
    try:
        law = laws.load(path)
    except UserError:
        return
    answer = _ask(law, moe_layers({"kind": "dense", "size": 256}), 2e10)
    assert answer.reason is not None or (answer.loss is not None and 0 < answer.loss < math.inf)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"fix": ["E=1", "E=2"]}, "fix E: given twice"),
        ({"fix": "E=-1"}, "fix E: -1 must be 0 or more"),
        ({"fix": {"E": math.nan}}, "fix.E"),
        ({"fix": {"E": "1"}}, "fix.E"),
        ({"fix": {"E": True}}, "fix.E"),
        ({"fix": "E=1_0"}, "fix E: '1_0' is not a finite number"),
        ({"fix": "E=017"}, "fix E: '017' is not a finite number"),
        ({"fix": "E=٣"}, "fix E: '٣' is not a finite number"),
        ({"fix": "E=1,5"}, "fix E: '1,5' is not a finite number"),
        ({"fix": "E=1e309"}, "fix E: '1e309' is not a finite number"),
        ({"fix": "E=inf"}, "is not a finite number"),
        ({"bound": "alpha=2:1"}, "bounds of alpha are empty: 2 to 1"),
        ({"bound": ["alpha=0:1", "alpha=0:2"]}, "bound alpha: given twice"),
        ({"bound": "A=-2:-1"}, "bound A: -2 must be 0 or more"),
        ({"bound": {"alpha": (0.1,)}}, "bound"),
        ({"bound": "alpha=0.1"}, "expected LOW:HIGH"),
        ({"bound": "alpha=nan:1"}, "finite"),
        ({"fix": "E=1", "bound": "E=0:2"}, "fix E, bound E: fixed and bounded at once"),
        ({"fix": "E=1", "asymptote": 1.5}, "asymptote, E: the same coefficient of hoffmann2022, given twice"),
        ({"asymptote": -1.0}, "asymptote: -1.0 must be at least 0"),
        ({"asymptote": math.nan}, "asymptote: nan must be finite"),
        ({"asymptote": True}, "asymptote: expected a number"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"seed": 2**70}, "seed: expected an integer from 0"),
        ({"bootstrap": 10**9}, "bootstrap: expected an integer from 0 to 20000"),
        ({"bootstrap": True}, "bootstrap: expected an integer"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        moewright.fit(pd.DataFrame(synthetic_dense(0, rows=30)), "hoffmann2022", **{"bootstrap": 0, **setting})
    assert said in str(caught.value)


DEVICE = {
    "memory": "80GB",
    "memory_bandwidth": "3TB",
    "peak_flops": {"bf16": "989T"},
    "node": {"devices": 8, "bandwidth": "450GB", "link": "NVLink"},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("memory", value=math.nan), "memory"),
        (put("memory", value=math.inf), "memory"),
        (put("memory", value=-1e12), "memory"),
        (put("memory", value="80"), "no unit"),
        (put("memory", value="eighty"), "is not a number with a unit"),
        (put("memory", value="٣GB"), "is not a number with a unit"),
        (put("memory", value=True), "expected a quantity"),
        (put("memory", value="1e309GB"), "positive and finite"),
        (put("memory", value="1e400 GB"), "positive and finite"),
        (put("memory", value=[1, 2]), "expected a quantity"),
        (put("peak_flops", "bf16", value=0), "positive"),
        (put("peak_flops", value={"fp8": "1T"}), "bf16 is missing"),
        (put("peak_flops", value={"bf16": "1T", "bf8": "1T"}), "bf8"),
        (put("efficiency", value={"memory": [0.9, 0.4]}), "expected [low, high]"),
        (put("efficiency", value={"memory": [0.4, 1.5]}), "less than or equal to 1"),
        (put("efficiency", value={"memory": [math.nan, 0.9]}), "efficiency.memory[0]"),
        (put("efficiency", value={"seconds_per_layer": [-1.0, 0.1]}), "greater than or equal to 0"),
        (put("node", "devices", value=0), "node.devices"),
        (put("node", "devices", value=8.0), "node.devices"),
        (put("memory_bandwith", value="3TB"), "did you mean memory_bandwidth?"),
        (put("also", value=["mine", "---"]), "a device's name has letters or digits"),
        (put("sources", value={"speed": "x"}), "no figure is called 'speed'"),
    ],
)
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_devices_that_cannot_be_are_refused(change: Change, said: str, ending: str, tmp_path: Path) -> None:
    device: dict[str, Any] = copy.deepcopy(DEVICE)
    change(device)
    path = tmp_path / f"devices.{ending}"
    text = json.dumps({"devices": {"mine": device}})
    path.write_text(text if ending == "json" else text.replace("NaN", ".nan").replace("Infinity", ".inf"))
    with pytest.raises(UserError) as caught:
        load_device(str(path))
    assert said in str(caught.value)


def test_two_devices_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    path.write_text(json.dumps({"devices": {"mine": DEVICE, "yours": {**DEVICE, "also": ["Mine"]}}}))
    with pytest.raises(UserError, match="'Mine' names two devices, mine and yours"):
        load_device(f"{path}:mine")


def test_no_loss_below_its_own_asymptote_is_predicted() -> None:
    """Whatever the formula gives: a law whose terms can be negative says that it is too far outside its runs."""
    law = laws.get("zhao2025").as_loss_law()
    worse = replace(law, coefficients={**law.coefficients, "e": -1e6})
    answer = _ask(worse, moe_layers(experts(8, 256, 2)), 2e10)
    assert answer.loss is None
    assert "gives a loss of -" in str(answer.reason)


def test_no_design_is_ranked_by_such_a_loss(tmp_path: Path) -> None:
    law = laws.fit_law("zhao2025", synthetic_zhao(0, rows=60), bootstrap=0)
    law.save(tmp_path / "law.json")
    values = json.loads((tmp_path / "law.json").read_text())
    values["coefficients"]["e"] = -1e3
    next(each for each in values["identified"] if each["name"] == "e").update(value=-1e3, low=None, high=None)
    (tmp_path / "law.json").write_text(json.dumps(values))
    space = Space(widths=(1024,), depths=(16,), experts=(64,))
    with pytest.raises(UserError, match="zhao2025-fitted cannot rank these designs: its formula gives a loss of -"):
        moewright.design(memory="80GB", train_tokens="2T", law=[tmp_path / "law.json"], space=space)
