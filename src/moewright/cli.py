"""The command line, made from the functions of the commands: their names, arguments, defaults and docstrings."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from moewright import __version__
from moewright.commands import COMMANDS
from moewright.commands.checking import (
    from_text,
    helps,
    is_list,
    metavar,
    missing,
    names_of,
    summary,
    unknown_name,
    written,
)
from moewright.errors import OtherProcessError, RunStopped, UserError
from moewright.foreign_text import one_line, visible
from moewright.progress import showing_progress
from moewright.signals import ENDINGS, Interrupted

NEEDED = {"export": ("out",)}
"""What Python may leave out and the command line may not."""
GROUPS = {"data": "Data for training runs."}
SAYS_WHAT_IT_WROTE = ("design", "fit", "export", "data prepare")
"""Commands whose results do not say it themselves."""
DISPLAY_OPTIONS = {
    "explain": "Print all that is behind the answer.",
    "quiet": "Do not show how far the work is.",
    "json": "Print one JSON object and nothing else.",
}
"""They are about the terminal, so the functions have none of them."""
EXPLAINED_COMMANDS = ("inspect", "models", "predict", "plan", "fit", "laws")
"""Commands that can say more than fits on a screen; `design` has its own option, for it computes more."""
MOST_NAMES = 8
DEVICES = ("hardware", "experts_on")
"""Arguments that take a device, or the word list."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command line: a command for each line of `COMMANDS`, or only the one that the words begin with.

    Making the others would take longer than some commands do.
    """
    asked = [path for path in COMMANDS if path.split() == list(words[: path.count(" ") + 1])]
    plain: dict[str, Any] = {
        "cls": _Group,
        "no_args_is_help": True,
        "rich_markup_mode": None,
        "pretty_exceptions_enable": False,
    }
    root = typer.Typer(
        name="moewright",
        help="From memory, inference and training budgets to a Mixture-of-Experts language model that you can build.",
        callback=_root,
        **plain,
    )
    groups = {"": root, **{name: typer.Typer(help=text, **plain) for name, text in GROUPS.items()}}
    for path in asked or COMMANDS:
        name = COMMANDS[path]
        function = getattr(import_module(f"moewright.commands.{name}"), name)
        group, _, last = path.rpartition(" ")
        groups[group].command(last, cls=_Command, help=summary(function))(_callback(path, function))
    for name in GROUPS:
        if groups[name].registered_commands:
            root.add_typer(groups[name], name=name)
    return root


class _Group(TyperGroup):
    """Commands, where an unknown one gets the line that an unknown argument gets."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing and not args[0].startswith("-"):
            raise UserError(unknown_name(args[0], str(self.name), self.commands, "command"))
        return super().resolve_command(ctx, args)


class _Command(TyperCommand):
    """A command whose options are given once, but for those that say that they take several: a second one would
    silently be the last word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[Any] = list(self.make_parser(ctx).parse_args(list(args))[2])
        for place, each in enumerate(given):
            takes_one = each.param_type_name == "option" and not (each.multiple or each.is_flag)
            if takes_one and each in given[:place]:
                raise UserError(f"{each.opts[0][2:]}: given twice; give it once")
        return list(super().parse_args(ctx, args))


def _version(wanted: bool) -> None:
    if wanted:
        print(visible(f"moewright {__version__}"))
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)]


def _root(version: _Version = False) -> None:
    pass


def _callback(path: str, function: Callable[..., Any]) -> Callable[..., None]:
    """What typer calls. It takes every argument as text; the function reads, checks and sets them."""
    parameters = signature(function).parameters

    def run(**given: Any) -> None:
        as_json, is_quiet = given.pop("json"), given.pop("quiet")
        explain = path in EXPLAINED_COMMANDS and given.pop("explain")
        _check_explain(explain, as_json)
        was_given = {name: value for name, value in given.items() if value is not None and value not in (False, [], ())}
        values = {name: from_text(value, parameters[name]) for name, value in was_given.items()}
        try:
            with nullcontext() if is_quiet else showing_progress():
                result = function(**values)
        except KeyboardInterrupt as stopped:  # which typer would end without a line
            number = stopped.number if isinstance(stopped, Interrupted) else signal.SIGINT
            _fail(ENDINGS[number], 128 + number)
        if not getattr(result, "is_first", True):  # of several processes that train together, one speaks
            return
        _tell(result, values if path in SAYS_WHAT_IT_WROTE else {}, as_json, explain)
        raise typer.Exit(_exit_code(result, values))

    texts = helps(function)
    options = [
        _option(path, parameter, texts[name], not place) for place, (name, parameter) in enumerate(parameters.items())
    ]
    display = {name: text for name, text in DISPLAY_OPTIONS.items() if name != "explain" or path in EXPLAINED_COMMANDS}
    for name, help_text in display.items():
        flag = Annotated[bool, typer.Option(f"--{name}", help=help_text)]
        options.append(Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=flag))
    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _option(path: str, parameter: Parameter, text: str, is_first: bool) -> Parameter:
    """One argument for typer: a function's first stands without its name where it may; the others are options."""
    name, names = parameter.name, names_of(parameter)
    takes: Any = list[str] if is_list(parameter) else bool if names == ["bool"] else str
    needed = parameter.default is Parameter.empty or name in NEEDED.get(path, ())
    if is_first and parameter.kind is not Parameter.KEYWORD_ONLY:
        declared: Any = typer.Argument(help=text, metavar=name.upper())
    else:
        has_default = not needed and parameter.default is not None and takes is not bool
        text += f" [default: {parameter.default}]" if has_default else ""
        lists: dict[str, Any] = {"callback": _list_devices, "is_eager": True} if name in DEVICES else {}
        declared = typer.Option(
            f"--{written(name)}",
            help=text,
            metavar=None if takes is bool else metavar(parameter),
            show_default=False,
            **lists,
        )
    default_value = Parameter.empty if needed else False if takes is bool else None
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default_value, annotation=Annotated[takes, declared])


def _check_explain(explain: bool, as_json: bool) -> None:
    if explain and as_json:
        raise UserError("explain: --json has all of it; leave it out")


def _list_devices(given: str | None) -> str | None:
    """With `list` for a device, print those that there are and end, whatever is missing; what else is given is said."""
    if given == "list":
        from moewright.hardware.device_list import list_devices

        as_json, explain = "--json" in sys.argv, "--explain" in sys.argv
        _check_explain(explain, as_json)
        asked = {"list", "--json", "--explain"}
        asked |= {f"--{written(name)}{end}" for name in DEVICES for end in ("", "=list")}
        unused = [word for word in sys.argv[2:] if word not in asked]
        if unused:
            said = f"moewright: warning: list prints the devices; not used: {' '.join(unused)}"
            print(visible(said), file=sys.stderr)
        _tell(list_devices(), {}, as_json, explain)
        raise typer.Exit
    return given


def _tell(result: Any, values: Mapping[str, Any], as_json: bool, explain: bool = False) -> None:
    """Print a result, as JSON or for people, and for people what was written."""
    if as_json:
        print(json.dumps(result.to_dict(), allow_nan=False))
        return
    from moewright.report import EXPLAINED, show
    from moewright.screen import Screen

    show(result, Screen(explain=explain))
    if explain and not any(kind.__name__ in EXPLAINED for kind in type(result).__mro__):
        print(visible("moewright: warning: explain: this answer is all that there is"), file=sys.stderr)
    for path in (Path(values[name]) for name in ("out", "plots", "preregister") if name in values):
        names = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        line = f"written to {path}: {', '.join(names[:MOST_NAMES])}{more}" if names else f"written: {path}"
        print(visible(line))


def _exit_code(result: Any, values: Mapping[str, Any]) -> int:
    """128 and a signal's number for training that it interrupted (Ctrl-C's where another process heard it), 1 for a
    sweep that is not complete, unless nothing of it was to be run."""
    if getattr(result, "state", None) == "interrupted":
        return 128 + (result.stopped_by or signal.SIGINT)
    return 0 if getattr(result, "is_complete", True) or {"watch", "write_only"} & values.keys() else 1


def main() -> NoReturn:
    """Run the command line. Exit 0: done; 2: the input is wrong (one line on stderr); 1: it broke.

    `moewright` alone asks what there is: help on stdout and 0, as `gh`, `cargo`, `docker` and `kubectl` have it.
    """
    try:
        sys.exit(make_app(sys.argv[1:])(standalone_mode=False))
    except UserError as error:
        _fail(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())  # type: ignore[attr-defined]
            sys.exit(0)
        _fail(_complaint(error))
    except RunStopped as stopped:
        _fail(str(stopped), 1)
    except OtherProcessError:
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt):
        _fail(ENDINGS[signal.SIGINT], 128 + signal.SIGINT)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(": ".join(str(part) for part in (error.filename, error.strerror) if part), 1)


# typer has its own copy of click, under a private name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def _complaint(error: Any) -> str:
    """What typer has to say, in the words of Python's complaints where these say the same."""
    kind, context = type(error).__name__, error.ctx
    if kind == "NoSuchOption" and context is not None:
        known = [option for each in context.command.params for option in each.opts if option.startswith("--")]
        return unknown_name(error.option_name, context.command.name, known)
    if kind == "MissingParameter" and error.param is not None and error.param.name is not None:
        named = error.param.opts[0]
        return missing(error.param.name, named if named.startswith("-") else error.param.name.upper())
    return str(error.format_message())


def _fail(message: str, code: int = 2) -> NoReturn:
    print(one_line(f"moewright: {' '.join(message.split())}"), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
