"""The catalogue of published models: against the configs that it was read from, and against what publishers say."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright.architecture import counts
from moewright.experiment.recipe import Recipe
from moewright.hf.loading import load_architecture
from moewright.hf.published_models import FOLDER, find_model, get_model, model_names
from tests.docs.pages import ROOT
from tests.hf.make_models import SAID, find_config, made_from, written

NAMES = model_names()
UNITS = {"M": 10**6, "B": 10**9, "T": 10**12}


def config_of(name: str) -> dict[str, Any] | None:
    source = get_model(name).config
    if source.startswith("transformers") and find_spec("torch") is None:
        return None
    return find_config(source)


def test_there_are_enough() -> None:
    entries = [get_model(name) for name in NAMES]
    assert len(entries) >= 60
    assert sum(bool(entry.architecture.moe_layers()) for entry in entries) >= 45
    assert sum(not entry.architecture.moe_layers() for entry in entries) >= 20
    assert all(path.stem == path.stem.lower() == get_model(path.stem).name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_our_reader_makes_of_its_config(name: str) -> None:
    config = config_of(name)
    if config is None:
        pytest.skip("its config is not at hand: ../shared/data/configs or the repository that it names")
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    entry = json.loads(text)
    made = made_from(config, entry.get("config_beside_weights", True))
    assert text == written({**{key: entry[key] for key in SAID if key in entry}, **made})


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_published_sizes(name: str) -> None:
    """To the digits published, a last zero being perhaps none; a publisher may leave embedding and head out."""
    entry = get_model(name)
    a = entry.architecture
    whole, bare = counts.total_params(a), counts.total_params_non_embedding(a)
    if entry.total is not None:
        value, unit = published(entry.total.value)
        assert bare - unit < value, (whole, bare)
        assert value < whole + unit or entry.beside is not None
        assert value < 1.2 * whole
    if entry.active is not None:
        value, unit = published(entry.active.value)
        assert counts.active_params_non_embedding(a) - unit < value < counts.active_params(a) + unit


def published(text: str) -> tuple[float, float]:
    """The number, and one unit of its last digit."""
    digits, unit = text[:-1], UNITS[text[-1]]
    places = len(digits.partition(".")[2])
    return float(digits) * unit, unit * 10 ** (-places if places else int(digits.endswith("0")))


def test_published_sizes_are_there() -> None:
    entries = [get_model(name) for name in NAMES]
    assert sum(entry.total is not None for entry in entries) >= 60
    assert all(re.search(r"\w", figure.source) for entry in entries if (figure := entry.total) is not None)


@pytest.mark.parametrize("name", [name for name in NAMES if get_model(name).config_beside_weights][::4])
def test_a_name_says_what_its_config_says(name: str) -> None:
    config = config_of(name)
    if config is None:
        pytest.skip("its config is not at hand")
    named, read = (moewright.inspect(source, hardware="H100").to_dict() for source in (name, config))
    for answer in (named, read):
        for key in ("name", "warnings", "published_source"):
            answer.pop(key)
    assert named == read


def test_any_case_and_the_nearest_name() -> None:
    assert find_model("QWEN3-30b-A3B") == get_model("qwen3-30b-a3b")
    assert moewright.inspect(" Mixtral-8x7B ").total_params == 46_702_792_704
    assert moewright.inspect(Path("dbrx")).name == "dbrx"
    for wrong in ("../models/dbrx", "dbrx.json", "", "a" * 500, "dbrx/", "dbrx\0", ".."):
        assert find_model(wrong) is None
    with pytest.raises(moewright.UserError, match=r"'qwen3-30b'; did you mean qwen3-30b-a3b\?$"):
        moewright.inspect("qwen3-30b")
    with pytest.raises(moewright.UserError, match=r"called 'zzz'; `moewright models` lists them$"):
        moewright.models("zzz")
    with pytest.raises(moewright.UserError, match=r"^dbrx.json: cannot be read: No such file"):
        moewright.inspect("dbrx.json")


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((ROOT / "examples/configs/olmoe-1b-7b.json").read_text(encoding="utf-8"))
    (tmp_path / "dbrx").mkdir()
    (tmp_path / "dbrx" / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    assert moewright.inspect("dbrx").family == "olmoe"
    assert moewright.inspect("DBRX").family == "dbrx"


def test_names_serve_wherever_a_config_does(tmp_path: Path) -> None:
    file = "examples/configs/olmoe-1b-7b.json"
    assert moewright.predict("olmoe-1b-7b", "5T").to_dict() == moewright.predict(file, "5T").to_dict()
    assert moewright.export("olmoe-1b-7b", "hf").to_dict()["files"] == moewright.export(file, "hf").to_dict()["files"]
    one, other = (
        moewright.design(like=like, train_tokens="5T", law=["zhao2025"], top=1) for like in ("OLMoE-1B-7B", file)
    )
    assert [design.architecture for design in one.designs] == [design.architecture for design in other.designs]
    assert load_architecture("olmoe-1b-7b", tmp_path).architecture == load_architecture(file).architecture
    recipe = Recipe.load("examples/train/tiny.yaml").to_dict()
    named = Recipe.from_dict({**recipe, "architecture": "olmoe-1b-7b"}, beside=tmp_path)
    assert named.architecture == get_model("olmoe-1b-7b").architecture


def test_the_list_and_one_model() -> None:
    listed = moewright.models()
    assert [line.name for line in listed.models] == sorted(NAMES, key=lambda name: (size(name), name))
    one = moewright.models("gpt-oss-120b").to_dict()
    assert one["total_params"] == 116_829_156_672
    assert one["published_total"] == {"value": "116.8B", "source": "arXiv 2508.10925"}
    assert one["published_dtype"] == "mxfp4"
    assert moewright.Architecture.from_dict(one["architecture"]) == get_model("gpt-oss-120b").architecture
    assert moewright.models("phi-3.5-moe").published_weights_bytes is None


def size(name: str) -> int:
    return counts.total_params(get_model(name).architecture)


def test_the_wheel_has_them(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    builder = wheel.WheelBuilder(str(ROOT))
    shipped = {file.distribution_path for file in builder.recurse_included_files()}
    assert {f"moewright/hf/models/{name}.json" for name in NAMES} <= shipped
