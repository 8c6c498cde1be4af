"""Names that users rely on: every command's arguments and defaults, the same in Python and on the command line."""

import inspect
from typing import Any

import pytest
import typer

import moewright
from moewright import cli
from moewright.commands import COMMANDS

CONTRACT = {
    "inspect": "CONFIG* --tokens-per-sequence --batch=1 --weights-dtype=bf16 --kv-dtype=bf16 "
    "--latent-cache=latent --window-cache=window --tensor-parallel --hardware --devices "
    "--price* --power-price",
    "predict": "CONFIG* --train-tokens! --law* --unique-tokens --serve-tokens --own",
    "design": "--memory --total-params --active-params --decode-tokens-per-second --time-to-first-token --train-tokens "
    "--train-flops --train-device-hours --hardware --devices --context --batch --weights-dtype --kv-dtype --vocab-size "
    "--space --like --baseline --prefer=balanced --train-hardware --train-devices "
    "--price* --serve-tokens --power-price --law* --own --top=10 --explain --out --print-space",
    "plan": "CONFIG --hardware! --devices! --sequence-length --global-batch --precision=bf16 --optimizer=adamw "
    "--layout --train-tokens --price* --top=5 --serve --batch --context --generate --weights-dtype=bf16 "
    "--kv-dtype=bf16 --draft-tokens=0 --acceptance --experts-on --serve-tokens --power-price "
    "--coefficients --gradient-dtype=fp32",
    "calibrate": "MEASUREMENTS --out --force",
    "train": "SPEC --out --dry-run",
    "sweep": "SPEC --out --jobs --executor=local --trainer --write-only --dry-run --watch --retry-failed --add "
    "--forecast* --noise",
    "runs": "PATH* --out --curves --from=auto --map --final-tokens --force",
    "fit": "RUNS --law --source --where* --column* --holdout --bootstrap=1000 --loss=loss --weights --cluster* "
    "--objective --tuning --asymptote --fix* --bound* --seed=0 --at* --preregister --score --out --plots --force",
    "laws": "[NAME] --evidence",
    "next": "[RUNS] --candidates --for=forecast --spend --law* --target* --train-tokens --noise --within "
    "--confidence=0.95 --most=20 --hardware --price* --out --force",
    "models": "[NAME]",
    "export": "DESIGN --format! --out! --balance-loss",
    "report": "PATH* --out! --format=html --title --watch --force",
    "data prepare": "SOURCES* --out! --tokenizer --vocab-size --text-key --source-key --document-separator "
    "--end-of-document --validation-share=0.01 --seed=0 --tokens-per-shard=100000000",
}
"""`!`: needed. `*`: may be given several times. Add to it; what is there stays."""
FLAGS = {
    "dry-run",
    "evidence",
    "explain",
    "print-space",
    "watch",
    "retry-failed",
    "write-only",
    "serve",
    "add",
    "force",
}
ALSO_BY_PLACE = {
    "predict": ["train_tokens", "law"],
    "train": ["out"],
    "sweep": ["out"],
    "runs": ["out", "curves"],
    "calibrate": ["out"],
    "fit": ["law"],
    "export": ["format", "out"],
    "report": ["out"],
    "data prepare": ["out"],
}
"""What Python takes without a name beside the first argument; none of it may change its place."""


def function_of(path: str) -> Any:
    return getattr(moewright, COMMANDS[path])


def options_of(path: str) -> dict[str, Any]:
    """What click knows of a command, by name, without `--help`."""
    found: Any = typer.main.get_command(cli.make_app())
    for name in path.split():
        found = found.commands[name]
    return {parameter.name: parameter for parameter in found.params if parameter.name != "help"}


def test_every_command_is_in_the_contract() -> None:
    assert COMMANDS.keys() == CONTRACT.keys()


@pytest.mark.parametrize("path", CONTRACT)
def test_the_functions_keep_names_and_defaults(path: str) -> None:
    told = []
    for place, (name, parameter) in enumerate(inspect.signature(function_of(path)).parameters.items()):
        is_needed = parameter.default is inspect.Parameter.empty or (path, name) == ("export", "out")
        if not place and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            told.append(name.upper() if is_needed else f"[{name.upper()}]")
            continue
        default = (
            "" if is_needed or parameter.default is None or parameter.default is False else f"={parameter.default}"
        )
        told.append(f"--{name.rstrip('_').replace('_', '-')}{default}{'!' if is_needed else ''}")
    assert " ".join(told) == CONTRACT[path].replace("*", "")


@pytest.mark.parametrize("path", CONTRACT)
def test_arguments_keep_their_places(path: str) -> None:
    by_place = [
        name
        for name, parameter in inspect.signature(function_of(path)).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert by_place[1:] == ALSO_BY_PLACE.get(path, [])


@pytest.mark.parametrize("path", CONTRACT)
def test_the_command_line_has_the_same(path: str) -> None:
    options = options_of(path)
    assert options.pop("json").is_flag
    assert options.pop("quiet").is_flag
    assert path not in cli.EXPLAINED_COMMANDS or options.pop("explain").is_flag
    assert list(options) == list(inspect.signature(function_of(path)).parameters)
    for word, (name, option) in zip(CONTRACT[path].split(), options.items(), strict=True):
        written, _, default = word.removeprefix("--").rstrip("!").partition("=")
        assert option.required == (word.endswith("!") or (word.isupper() and not word.startswith("[")))
        assert bool(option.help)
        if word.startswith("--"):
            assert option.opts == [f"--{name.rstrip('_').replace('_', '-')}"] == [f"--{written.rstrip('*')}"]
            assert option.is_flag == (written in FLAGS)
            assert option.multiple == written.endswith("*")
            assert not default or option.help.endswith(f"[default: {default}]")
        else:
            assert option.nargs == (-1 if word.endswith("*") else 1)
        # The command line has no defaults of its own: what is not given is left to the function.
        assert option.default in (None, False) or option.required


@pytest.mark.parametrize("path", CONTRACT)
def test_every_argument_is_explained_once(path: str) -> None:
    document = inspect.getdoc(function_of(path)) or ""
    _, _, arguments = document.partition("\nArgs:\n")
    for name in inspect.signature(function_of(path)).parameters:
        assert arguments.count(f"\n    {name}: ") + arguments.startswith(f"    {name}: ") == 1
    assert "\nRaises:\n    UserError: " in document


def test_signatures_and_names_are_those_of_the_functions() -> None:
    for name in COMMANDS.values():
        function = getattr(moewright, name)
        assert function.__name__ == name
        assert function.__module__ == f"moewright.commands.{name}"
        assert callable(inspect.unwrap(function))
