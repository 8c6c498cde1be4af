"""The catalogue of published models, made anew from the configs that it names.

    python -m tests.hf.make_models [--check] [--configs FOLDER] [--clone OWNER/NAME=GIT_DIRECTORY ...] [NAME ...]

What a person wrote in an entry (figures, dates, licences, where its config is) stays; what our reader makes of the
config is written anew. To add a model, write its file with those fields by hand and run this with its name. `--configs`
is a folder of configs with an index.tsv that says which file of which repository each one is; `--clone` is a copy of
such a repository. Entries whose config is at neither place are left alone, and named.
"""

import argparse
import ast
import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.hf.config import read_config
from moewright.hf.loading import load_architecture, published_weights
from moewright.hf.published_models import FOLDER, CountedWeights, model_names
from tests.docs.pages import ROOT

SHARED = ROOT.parent / "shared" / "data" / "configs"
SAID = (
    *("format", "name", "hub_id", "released", "license", "total", "active", "beside", "training_tokens", "config"),
    "config_beside_weights",
)
"""What a person writes."""


def find_config(source: str, configs: Path = SHARED, clones: Mapping[str, Path] | None = None) -> dict[str, Any] | None:
    """The config that an entry names; None where it is not at hand."""
    if source.startswith("examples/"):
        return _mapping(json.loads((ROOT / source).read_text(encoding="utf-8")))
    if found := re.fullmatch(r"transformers [\d.]+: (\w+)\(\)", source):
        return _defaults(found[1])
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]+):([^#]+)(?:#(.+))?", source)
    assert found, f"config: {source!r} says no place"
    repository, commit, path, key = found.groups()
    index = configs / "index.tsv"
    if index.is_file() and key is None:
        with index.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                if (row["repository"], row["path"]) == (repository, path) and row["commit"].startswith(commit):
                    return _mapping(json.loads((configs / f"{row['name']}.json").read_text(encoding="utf-8")))
    if clones and repository in clones:
        asked = ["git", f"--git-dir={clones[repository]}", "show", f"{commit}:{path}"]
        text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return _mapping(json.loads(text) if key is None else _from_python(text, key))
    return None


def _mapping(values: Any) -> dict[str, Any]:
    assert isinstance(values, dict)
    return values


def _from_python(text: str, key: str) -> Any:
    """A value of the one dictionary that a Python file is, without running it."""
    for node in ast.parse(text).body:
        value = node.value if isinstance(node, ast.AnnAssign | ast.Assign) else None
        for name, item in zip(value.keys, value.values, strict=True) if isinstance(value, ast.Dict) else ():
            if isinstance(name, ast.Constant) and name.value == key:
                return ast.literal_eval(item)
    raise KeyError(key)


def _defaults(class_name: str) -> dict[str, Any] | None:
    try:
        import transformers
    except ModuleNotFoundError:
        return None
    return _mapping(json.loads(getattr(transformers, class_name)().to_json_string(use_diff=False)))


def made_from(config: dict[str, Any], beside_weights: bool) -> dict[str, Any]:
    """The fields of an entry that our reader makes. `beside_weights`: whether the config tells how they are stored."""
    loaded = load_architecture(config)
    made: dict[str, Any] = {
        "family": read_config(config).family.model_type,
        "active_counts_embedding": loaded.active_counts_embedding,
    }
    architecture = loaded.architecture.to_dict()
    published = published_weights(loaded)
    if not beside_weights:
        architecture.pop("weights_format", None)
    elif published.model is not None:
        made["weights"] = CountedWeights.of(published.model).to_dict()
        if published.prediction.total_bytes:
            made["prediction_weights"] = CountedWeights.of(published.prediction).to_dict()
    return {**made, "architecture": architecture}


def written(values: Mapping[str, Any]) -> str:
    """An entry as its file has it: a line for each field."""
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write the files, or with --check exit with 1 if they are not what would be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--configs", type=Path, default=SHARED)
    parser.add_argument("--clone", action="append", default=[])
    given = parser.parse_args()
    clones = {name: Path(path) for name, _, path in (each.partition("=") for each in given.clone)}
    differ = []
    for name in given.names or model_names():
        path = FOLDER / f"{name}.json"
        entry = json.loads(path.read_text(encoding="utf-8"))
        config = find_config(entry["config"], given.configs, clones)
        if config is None:
            print(f"{name}: {entry['config']} is not at hand")
            continue
        said = {key: entry[key] for key in SAID if key in entry}
        try:
            text = written({**said, **made_from(config, entry.get("config_beside_weights", True))})
        except UserError as error:
            sys.exit(f"{name}: {error}")
        if text != path.read_text(encoding="utf-8"):
            differ.append(name)
            if not given.check:
                path.write_text(text, encoding="utf-8")
    print(f"{'differ' if given.check else 'written'}: {', '.join(differ) or 'none'}")
    sys.exit(1 if given.check and differ else 0)


if __name__ == "__main__":
    main()
