"""Pairs of questions whose answers must agree: what finds an answer that is wrong without a word.

Each relation is a function of `RELATIONS`, drawn anew from a seed: it changes what must not change the answer (order of
keys, columns, rows, axes and sources; the format, the name and the spelling of what is given), or what changes it in
a known way (twice the layers, the batch, the tokens), and compares. `ask` is the command line, in this process.
"""

import contextlib
import inspect
import io
import json
import math
import random
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import moewright
from moewright.commands import COMMANDS
from moewright.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "examples/configs").glob("*.json"))


class RefusedError(AssertionError):
    """A command line that should have answered did not."""


def said(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    from moewright import cli

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["moewright", *words]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    return int(code or 0), out.getvalue(), err.getvalue()


def ask(*words: str) -> Any:
    """The JSON of a command line that answers."""
    code, out, err = said(*words, "--json")
    if code:
        raise RefusedError(f"{words}: {err}")
    return json.loads(out)


def read(path: str | Path) -> Any:
    """A JSON or YAML file, by libraries alone."""
    import yaml

    text = Path(path).read_text()
    return json.loads(text) if str(path).endswith(".json") else yaml.safe_load(text)


def write(path: str, values: Any) -> str:
    """Write a file by libraries alone; its name."""
    import yaml

    Path(path).write_text(json.dumps(values) if path.endswith(".json") else yaml.safe_dump(values, sort_keys=False))
    return path


def shuffled(value: Any, draw: random.Random) -> Any:
    """The same mappings with their keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw.sample([*value], len(value))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    """An answer without what says where it came from."""
    return {name: value for name, value in answer.items() if name not in names}


def agree(one: Any, other: Any, what: str = "answer", tolerance: float = 0.0) -> None:
    """AssertionError naming the first place where two answers differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert {*one} == {*other}, f"{what}: {sorted({*one} ^ {*other})}"
        for key in one:
            agree(one[key], other[key], f"{what}.{key}", tolerance)
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), f"{what}: {len(one)} and {len(other)}"
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            agree(mine, theirs, f"{what}[{place}]", tolerance)
    elif tolerance and isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance), f"{what}: {one} and {other}"
    else:
        assert one == other, f"{what}: {one!r} and {other!r}"


def some_spec(draw: random.Random, layers: int = 0) -> dict[str, Any]:
    """A small architecture: grouped or latent attention, windows, dense layers and mixtures."""
    heads = draw.choice([1, 2, 4])
    attention = {
        "kind": "attention",
        "num_heads": heads * 2,
        "num_kv_heads": heads,
        "head_dim": draw.choice([8, 16, 64]),
    }
    dense = {"kind": "dense", "size": draw.randrange(1, 500)}
    experts = draw.choice([4, 8, 16])
    group = {"count": experts, "expert_size": draw.randrange(1, 300), "top_k": draw.randrange(1, 4)}
    mixture = {"kind": "moe", "groups": [group], "shared": draw.choice([None, {"expert_size": draw.randrange(1, 200)}])}
    kinds = [
        {"mixer": attention, "feed_forward": dense},
        {"mixer": {**attention, "window": {"size": draw.randrange(1, 5000)}}, "feed_forward": mixture},
        {"mixer": {**attention, "qk_norm": "per_head"}, "feed_forward": mixture},
    ]
    chosen = [draw.choice(kinds) for _ in range(layers or draw.randrange(1, 9))]
    return {
        "format": "moewright-architecture/1",
        "vocab_size": draw.randrange(1, 5000),
        "hidden_size": draw.choice([8, 64, 1000]),
        "tie_embeddings": draw.random() < 0.5,
        "layers": deepcopy(chosen),
    }


SHOWN = {
    "embedding": "embedding",
    "head": "lm_head",
    "attention": "attention",
    "router": "router",
    "routed experts": "routed_experts",
    "shared experts": "shared_experts",
    "dense feed-forward": "dense_ffn",
    "norms": "norm",
}
"""Components by the words of the table that people see."""


# What must not change the answer


def keys_of_a_config(draw: random.Random) -> None:
    """The order of keys."""
    values = read(draw.choice(CONFIGS))
    one, other = write("one.json", values), write("other.json", shuffled(values, draw))
    agree(without(ask("inspect", one), "name"), without(ask("inspect", other), "name"))


def json_against_yaml(draw: random.Random) -> None:
    """The format of a description."""
    values = some_spec(draw)
    one, other = write("it.json", values), write("it.yaml", values)
    agree(ask("inspect", one), ask("inspect", other))


def name_of_a_file(draw: random.Random) -> None:
    """What a file is called."""
    values = some_spec(draw)
    names = ["config.json", "a b.json", "é.json", "./-x.json", "x.y.JSON", "[red].json", "a'b.json"]
    one, other = "it.json", draw.choice(names)
    for path in (one, other):
        Path(path).write_text(json.dumps(values))
    agree(without(ask("inspect", one), "name"), without(ask("inspect", other), "name"))


def comments_and_anchors(draw: random.Random) -> None:
    """Comments, blank lines, anchors and merges in YAML."""
    import yaml

    values = some_spec(draw, 2)
    values["layers"][1] = deepcopy(values["layers"][0])
    one = write("one.json", values)
    layer = json.dumps(values["layers"][0])
    head = yaml.safe_dump({key: value for key, value in values.items() if key != "layers"})
    Path("other.yaml").write_text(f"# a model\n\n{head}\nlayers:  # both alike\n- &layer {layer}\n- {{<<: *layer}}\n")
    agree(without(ask("inspect", one), "name"), without(ask("inspect", "other.yaml"), "name"))


def repeats_written_out(draw: random.Random) -> None:
    """Layers written once with how often, or one by one."""
    values = some_spec(draw, draw.randrange(1, 4))
    times = draw.randrange(2, 30)
    one = write("it.json", {**values, "layers": [{"repeat": times, "layers": values["layers"]}]})
    found = ask("inspect", one)
    other = write("it.json", {**values, "layers": values["layers"] * times})
    agree(found, ask("inspect", other))


def spelling_of_a_quantity(draw: random.Random) -> None:
    """2T, 2e12 and 2,000,000,000,000; 80GB, 80e9 and 80000MB."""
    number = draw.randrange(1, 3000)
    spelt = [
        f"{number}B",
        f"{number}e9",
        f"{number}000000000",
        f"{number}_000_000_000",
        f"{number}G",
        f"{number / 1000}T",
    ]
    spelt.append(f"{number * 10**9:,}")
    config = str(draw.choice(CONFIGS))
    one, other = draw.sample(spelt, 2)
    found = [ask("predict", config, "--train-tokens", each) for each in (one, other)]
    agree(found[0], found[1], f"{one} against {other}", 1e-12)


def spelling_of_a_memory(draw: random.Random) -> None:
    """Bytes with units."""
    number = draw.randrange(8, 200)
    spelt = [f"{number}GB", f"{number}e9", f"{number}000MB", f"{number * 10**9}", f"{number} gb", f"{number / 1000}TB"]
    one, other = draw.sample(spelt, 2)
    found = [_design("--memory", each, "--top", "1") for each in (one, other)]
    agree(found[0], found[1], f"{one} against {other}", 1e-9)


def _design(*words: str) -> Any:
    return without(ask("design", "--train-tokens", "2T", "--space", "space.yaml", *words), "search")


def order_of_columns(draw: random.Random) -> None:
    """Columns of a run table, and columns that nobody reads."""
    rows = _rows(draw)
    names = draw.sample([*rows[0]], len(rows[0]))
    _csv("one.csv", rows)
    _csv(
        "other.csv", [{**{name: row[name] for name in names}, "note": f"n{number}"} for number, row in enumerate(rows)]
    )
    agree(_fit("one.csv"), _fit("other.csv"))


def order_of_rows(draw: random.Random) -> None:
    """Rows of a run table."""
    rows = _rows(draw)
    _csv("one.csv", rows)
    _csv("other.csv", draw.sample(rows, len(rows)))
    agree(_fit("one.csv"), _fit("other.csv"), tolerance=1e-4)


def format_of_a_table(draw: random.Random) -> None:
    """CSV, JSON lines and Parquet; counts with units."""
    import pandas as pd

    rows = _rows(draw)
    _csv("it.csv", rows)
    Path("it.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame(rows).to_parquet("it.parquet")
    _csv("units.csv", [{**row, "total_params": f"{row['total_params'] / 1e9!r}B"} for row in rows])
    one, other = draw.sample(["it.csv", "it.jsonl", "it.parquet", "units.csv"], 2)
    agree(_fit(one), _fit(other), f"{one} against {other}", 1e-9)


def rows_left_out(draw: random.Random) -> None:
    """--where against a table without those rows."""
    rows = [{**row, "corpus": draw.choice(["a", "b"])} for row in _rows(draw)]
    _csv("one.csv", rows)
    _csv("other.csv", [row for row in rows if row["corpus"] == "a"])
    agree(_fit("one.csv", "--where", "corpus=a"), _fit("other.csv"))


def _rows(draw: random.Random) -> list[dict[str, Any]]:
    """Runs of a known law with a little noise."""
    rows = []
    for _ in range(draw.randrange(24, 40)):
        n, d = 10 ** draw.uniform(8, 10), 10 ** draw.uniform(9.5, 11.5)
        loss = 1.7 + 400 / n**0.34 + 410 / d**0.28
        rows.append({"total_params": round(n), "train_tokens": round(d), "loss": loss * math.exp(draw.gauss(0, 1e-3))})
    return rows


def _csv(path: str, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    Path(path).write_text("\n".join(lines) + "\n")


def _fit(path: str, *words: str) -> Any:
    """What a fit says, but for the names of rows, which are places in a table."""
    found = ask("fit", path, "--law", "hoffmann2022", "--bootstrap", "0", *words)
    found["findings"] = sorted((without(each, "row", "run_id") for each in found["findings"]), key=str)
    return without(found, "data_sha256", "settings", "messages", "outliers")


def order_of_laws(draw: random.Random) -> None:
    """Laws one by one, and together in any order."""
    config = str(draw.choice(CONFIGS))
    every = ask("predict", config, "--train-tokens", "2T")["laws"]
    names = draw.sample([each["law"] for each in every], 3)
    some = ask("predict", config, "--train-tokens", "2T", *(word for name in names for word in ("--law", name)))["laws"]
    by_name = {each["law"]: each for each in every}
    assert {each["law"] for each in some} == {*names}
    for each in some:
        agree(each, by_name[each["law"]], each["law"])


def own_device(draw: random.Random) -> None:
    """A packaged device copied to a file of one's own."""
    import yaml

    devices = yaml.safe_load((ROOT / "src/moewright/hardware/devices.yaml").read_text())["devices"]
    name = draw.choice([*devices])
    write("mine.yaml", {"devices": {name: devices[name]}})
    config = str(draw.choice(CONFIGS))
    found = [ask("inspect", config, "--hardware", each) for each in (name, "mine.yaml")]
    agree(found[0], found[1], name)


def python_against_command_line(draw: random.Random) -> None:
    """The same call from Python."""
    config, batch, tokens = str(draw.choice(CONFIGS)), draw.randrange(1, 300), draw.randrange(1, 200_000)
    called: Any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = draw.randrange(4)
        if kind == 0:
            words = [
                "inspect",
                config,
                "--batch",
                str(batch),
                "--tokens-per-sequence",
                str(tokens),
                "--hardware",
                "H100",
            ]
            called = moewright.inspect(config, batch=batch, tokens_per_sequence=tokens, hardware="H100")
        elif kind == 1:
            words = ["predict", config, "--train-tokens", str(tokens * 10**6)]
            called = moewright.predict(config, train_tokens=tokens * 10**6)
        elif kind == 2:
            _csv("it.csv", _rows(draw))
            words = ["fit", "it.csv", "--law", "hoffmann2022", "--bootstrap", "0", "--fix", "E=1.7"]
            called = moewright.fit("it.csv", "hoffmann2022", bootstrap=0, fix={"E": 1.7})
        else:
            words = ["laws", draw.choice(["zhao2025", "wang2024", "law.json"])]
            called = moewright.describe_laws(words[1])
    agree(ask(*words), json.loads(json.dumps(called.to_dict())))


def text_against_json(draw: random.Random) -> None:
    """The figures that people see are those of --json."""
    values = some_spec(draw)
    path = write("it.json", values)
    found = ask("inspect", path)
    code, text, err = said("inspect", path)
    assert code == 0, err
    table: dict[str, Any] = {}
    for line in text.partition("\nLayers")[0].splitlines():
        if match := re.match(
            r"(embedding|head|attention|routers?|routed experts|shared experts|dense feed-forward|norms) +(.*)", line
        ):
            table.setdefault(match[1].removesuffix("s") if match[1].startswith("router") else match[1], match[2])
    assert table, text
    for shown, row in table.items():
        total, active = (int(each.replace(",", "")) for each in re.findall(r"(?<![\d.])\d[\d,]*(?![\d.%])", row)[:2])
        assert (total, active) == (found["params"][SHOWN[shown]], found["active"][SHOWN[shown]]), f"{shown}: {row}"
    every = re.search(r"^all +([\d,]+) +([\d,]+)", text, re.MULTILINE)
    assert every is not None, text
    assert [int(each.replace(",", "")) for each in every.groups()] == [found["total_params"], found["active_params"]]


def text_of_other_commands(draw: random.Random) -> None:
    """Losses and coefficients as printed are those of --json, rounded."""
    config = str(draw.choice(CONFIGS))
    found = {each["law"]: each["loss"] for each in ask("predict", config, "--train-tokens", "2T")["laws"]}
    code, text, err = said("predict", config, "--train-tokens", "2T")
    assert code == 0, err
    printed = dict(re.findall(r"^(\w+) +loss ([\d.]+)", text, re.MULTILINE))
    assert printed, text
    for law, loss in printed.items():
        assert found[law] is not None, law
        assert abs(found[law] - float(loss)) <= 0.51 * 10.0 ** -len(loss.partition(".")[2]), f"{law}: {loss}"
    assert {law for law, loss in found.items() if loss is not None} == {*printed}, "a loss is not printed"


def parity_of_complaints(draw: random.Random) -> None:
    """What the command line says of a wrong value is what Python says."""
    from moewright.commands.checking import names_of, written
    from tests.trust.battery import LINES, TEXTS, function_of, python_arguments, without

    command = draw.choice([each for each in COMMANDS if each not in ("sweep", "data prepare")])
    parameters = inspect.signature(function_of(command)).parameters
    named = [
        name for name, each in parameters.items() if names_of(each) != ["bool"] and each.kind is each.KEYWORD_ONLY
        and not {"out", "plots"} & {name}
    ]  # fmt: skip
    text = draw.choice([each for each in TEXTS if each.isascii() and each.isprintable() and len(each) < 200 and each])
    if not named or text.startswith("/"):
        return
    name = draw.choice(named)
    line = [*without(LINES[command], f"--{written(name)}"), f"--{written(name)}", text]
    code, _, err = said(*line)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function_of(command)(**{**python_arguments(command), name: text})
        complaint = None
    except UserError as error:
        complaint = str(error)
    number = {"int", "float"} & {*names_of(parameters[name])} and "str" not in names_of(parameters[name])
    if number and re.fullmatch(r"[-+.\dxeE]+|nan|-?inf|[Tt]rue", text):
        return  # a number to the one, text to the other
    if code == 2 or complaint is not None:
        assert (code == 2) == (complaint is not None), f"{line}: {code} {err!r} against {complaint!r}"
        assert err == f"moewright: {' '.join(str(complaint).split())}\n", f"{err!r} against {complaint!r}"


def parity_of_formats(draw: random.Random) -> None:
    """What is said of a wrong key is the same in JSON and in YAML."""
    from tests.trust.inputs import NUMBERS

    values = some_spec(draw)
    owner: Any = draw.choice(
        [values, values["layers"][0], values["layers"][0]["mixer"], values["layers"][0]["feed_forward"]]
    )
    key = draw.choice([*owner])
    wrong: Any = draw.choice(
        [each for each in NUMBERS if isinstance(each, int | bool) and abs(each) < 10**39] + ["x", None, [], {}]
    )
    change = draw.choice(["value", "rename", "away"])
    if change == "value":
        owner[key] = wrong
    elif change == "rename":
        owner[f"{key}x"] = owner.pop(key)
    else:
        del owner[key]
    found = []
    for path in (write("it.json", values), write("it.yaml", values)):
        code, out, err = said("inspect", path, "--json")
        found.append((code, out, err.replace(path, "FILE")))
    agree(found[0], found[1])


def axes_of_a_sweep(draw: random.Random) -> None:
    """The order of axes, of their values and of seeds."""
    values = read("sweep.yaml")
    grids: list[dict[str, list[Any]]] = [
        {"train_tokens": [2048, 4096, 8192]},
        {"learning_rate": [0.001, 0.004]},
        {"batch_tokens": [256, 512]},
    ]
    chosen = draw.sample(grids, draw.randrange(1, 4))
    seeds = draw.sample(range(9), 2)
    values = {**values, "axes": [{"grid": grid} for grid in chosen], "seeds": seeds}
    one = write("one.yaml", values)
    turned = [{"grid": {name: draw.sample(list(each), len(each)) for name, each in grid.items()}} for grid in chosen]
    other = write("other.yaml", shuffled({**values, "axes": turned[::-1], "seeds": seeds[::-1]}, draw))
    found = [ask("sweep", each, "--dry-run", "--executor", "slurm") for each in (one, other)]
    runs = [sorted((run["id"], run["train_flops"]) for run in answer["runs"]) for answer in found]
    assert len(runs[0]) == 2 * math.prod(len(each) for grid in chosen for each in grid.values())
    assert len(dict(runs[0])) == len(runs[0]), "two runs of one id"
    agree(runs[0], runs[1])


def order_of_sources(draw: random.Random) -> None:
    """Sources and documents of a dataset."""
    texts = [f"document {number} of {draw.randrange(10**6)} words" for number in range(60)]
    orders = [texts, draw.sample(texts, len(texts))]
    found = []
    for place, order in enumerate(orders):
        Path(f"{place}").mkdir()
        half = len(order) // 2
        Path(f"{place}/a.txt").write_text(
            "<|endoftext|>".join(sorted(order)[:half] if place == 0 else sorted(order)[:half][::-1])
        )
        Path(f"{place}/b.txt").write_text("<|endoftext|>".join(sorted(order)[half:]))
        names = [f"{place}/a.txt", f"{place}/b.txt"][:: 1 if place == 0 else -1]
        answer = ask(
            "data", "prepare", *names, "--vocab-size", "260", "--validation-share", "0.2", "--out", f"out{place}"
        )
        files = sorted(Path(f"out{place}").glob("*.bin"))
        found.append([answer["fingerprint"], {file.name: file.read_bytes() for file in files}])
    assert found[0][1] == found[1][1], "the shards differ"


def place_of_a_run(draw: random.Random) -> None:
    """Where a run lies."""
    one = ask("runs", "runs")
    Path("elsewhere/deep").mkdir(parents=True)
    shutil.copytree("runs", "elsewhere/deep/runs")
    other = ask("runs", "elsewhere")
    for answer in (one, other):
        for run in answer["runs"]:
            for name in ("source", "run_id"):
                del run[name]
    agree(one["runs"], other["runs"])


def keys_of_a_run(draw: random.Random) -> None:
    """The order of keys in a run's files."""
    before = ask("runs", "runs")
    for name in ("run.json", "status.json"):
        write(f"runs/{name}", shuffled(read(f"runs/{name}"), draw))
    agree(before, ask("runs", "runs"))


def keys_of_a_law(draw: random.Random) -> None:
    """The order of keys in a law's file."""
    config = str(draw.choice(CONFIGS))
    before = ask("predict", config, "--train-tokens", "2T", "--law", "./law.json")
    write("law.json", shuffled(read("law.json"), draw))
    agree(before, ask("predict", config, "--train-tokens", "2T", "--law", "./law.json"))


def recipe_formats(draw: random.Random) -> None:
    """A recipe in JSON and YAML, keys in any order, tokens spelt otherwise."""
    values = read("recipe.yaml")
    values["train_tokens"] = 1024 * draw.randrange(1, 50)
    one = write("one.json", values)
    spelt = draw.choice(
        [f"{values['train_tokens'] / 1000!r}K", float(values["train_tokens"]), str(values["train_tokens"])]
    )
    other = write("other.yaml", shuffled({**values, "train_tokens": spelt}, draw))
    agree(ask("train", one, "--dry-run"), ask("train", other, "--dry-run"), f"{spelt}")


# What changes it in a known way


def twice_the_layers(draw: random.Random) -> None:
    """Twice the layers have twice the parameters outside embedding, head and last norm."""
    values = some_spec(draw)
    one = ask("inspect", write("it.json", values))
    other = ask("inspect", write("it.json", {**values, "layers": values["layers"] * 2}))
    for kind in ("params", "active"):
        for name, count in one[kind].items():
            last = values["hidden_size"] if name == "norm" else 0
            wanted = count if name in ("embedding", "lm_head") else 2 * (count - last) + last
            assert other[kind][name] == wanted, f"{kind}.{name}: {count} became {other[kind][name]}"
    assert other["kv_bytes_per_token"] == 2 * one["kv_bytes_per_token"]


def twice_the_batch(draw: random.Random) -> None:
    """A cache of twice the sequences; the weights stay."""
    config, batch = str(draw.choice(CONFIGS)), draw.randrange(1, 64)
    words = ("--hardware", "H100", "--tokens-per-sequence", str(draw.choice([512, 4096, 30_000])))
    one, other = (ask("inspect", config, *words, "--batch", str(each)) for each in (batch, 2 * batch))
    agree([one["total_params"], one["weights_bytes"]], [other["total_params"], other["weights_bytes"]])
    found = [_cache_bytes(each) for each in (one, other)]
    assert found[0], "no cache is said"
    agree([2.0 * each for each in found[0]], found[1], "cache", 1e-9)


def _cache_bytes(answer: Any) -> list[float]:
    found = []
    if isinstance(answer, dict):
        for name, value in answer.items():
            if name in ("cache", "kv_cache", "cache_bytes") and isinstance(value, int | float):
                found.append(float(value))
            found += _cache_bytes(value)
    return found


def twice_the_width_of_weights(draw: random.Random) -> None:
    """fp32 takes twice the bytes of bf16."""
    values = some_spec(draw)
    path = write("it.json", values)
    one, other = (ask("inspect", path, "--weights-dtype", each) for each in ("bf16", "fp32"))
    assert other["weights_bytes"] == 2 * one["weights_bytes"] == 4 * one["total_params"]


def more_tokens(draw: random.Random) -> None:
    """No loss law expects more of the same model with more tokens."""
    config, tokens = str(draw.choice(CONFIGS)), 10 ** draw.uniform(10, 13)
    few, many = (ask("predict", config, "--train-tokens", str(each))["laws"] for each in (tokens, tokens * 3))
    for one, other in zip(few, many, strict=True):
        if one["loss"] is not None and other["loss"] is not None:
            assert other["loss"] <= one["loss"], f"{one['law']}: {one['loss']} became {other['loss']} at {tokens:g}"


def twice_the_training(draw: random.Random) -> None:
    """Twice the tokens are twice the steps and FLOPs."""
    values = read("recipe.yaml")
    values["train_tokens"] = values["batch_tokens"] * draw.randrange(1, 50)
    one = ask("train", write("one.yaml", values), "--dry-run")
    other = ask("train", write("one.yaml", {**values, "train_tokens": 2 * values["train_tokens"]}), "--dry-run")
    for name in ("steps", "train_flops", "train_tokens"):
        assert other[name] == 2 * one[name], name


def fewer_designs(draw: random.Random) -> None:
    """The first few of a longer list are the shorter list."""
    size = f"{draw.randrange(2, 40)}B"
    few, many = (_design("--total-params", size, "--top", str(each))["designs"] for each in (2, 6))
    for one, other in zip(few, many[:2], strict=True):
        agree(one["sizes"], other["sizes"])


def designs_as_inspected(draw: random.Random) -> None:
    """What design says of a model, inspect says too, and it is within the budget."""
    size = draw.randrange(2, 40)
    found = _design("--total-params", f"{size}B", "--top", "3")
    for design in found["designs"]:
        seen = ask("inspect", write("it.json", design["architecture"]))
        assert (seen["total_params"], seen["active_params"]) == (design["total_params"], design["active_params"])
        assert design["total_params"] <= size * 1e9


def exported_as_inspected(draw: random.Random) -> None:
    """An exported config has the source's parameters."""
    config = draw.choice(
        [each for each in CONFIGS if each.stem in ("mixtral-8x7b", "qwen3-30b-a3b", "olmoe-1b-7b", "deepseek-v3")]
    )
    ask("export", str(config), "--format", "hf", "--out", "made")
    one, other = ask("inspect", str(config)), ask("inspect", "made")
    for name in ("params", "active", "kv_bytes_per_token", "layers"):
        agree(one[name], other[name], name)


def asked_twice(draw: random.Random) -> None:
    """The same question has the same answer."""
    line = draw.choice([
        ["inspect", str(draw.choice(CONFIGS)), "--hardware", "H100"],
        ["predict", str(draw.choice(CONFIGS)), "--train-tokens", "2T"],
        ["fit", "runs.csv", "--law", "hoffmann2022", "--bootstrap", "5", "--seed", str(draw.randrange(100))],
        ["train", "recipe.yaml", "--dry-run"],
        ["laws", "law.json"],
        ["models", "dbrx"],
    ])  # fmt: skip
    agree(ask(*line), ask(*line))


RELATIONS: dict[str, tuple[str, Callable[[random.Random], None]]] = {
    each.__name__.replace("_", " "): (command, each)
    for command, relations in {
        "inspect": (
            keys_of_a_config, json_against_yaml, name_of_a_file, comments_and_anchors, repeats_written_out, own_device,
            text_against_json, parity_of_formats, twice_the_layers, twice_the_batch, twice_the_width_of_weights,
        ),
        "predict": (spelling_of_a_quantity, order_of_laws, text_of_other_commands, keys_of_a_law, more_tokens),
        "design": (spelling_of_a_memory, fewer_designs, designs_as_inspected),
        "fit": (order_of_columns, order_of_rows, format_of_a_table, rows_left_out),
        "sweep": (axes_of_a_sweep,),
        "data prepare": (order_of_sources,),
        "runs": (place_of_a_run, keys_of_a_run),
        "train": (recipe_formats, twice_the_training),
        "export": (exported_as_inspected,),
        "laws": (python_against_command_line, parity_of_complaints, asked_twice),
    }.items()
    for each in relations
}  # fmt: skip
"""By name: the command that it is counted with, and what it does."""
