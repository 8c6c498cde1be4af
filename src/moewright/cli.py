"""The command line: one thin function per command, which imports what it needs when it runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from moewright.errors import UserError

app = typer.Typer(
    name="moewright",
    help="From memory, inference and training budgets to a Mixture-of-Experts language model that you can build.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.callback()
def _commands() -> None:
    pass  # makes typer treat a single command as a subcommand


@app.command()
def inspect(
    config: Annotated[Path, typer.Argument(help="HF config.json, its folder, or a moewright architecture file.")],
    tokens_per_sequence: Annotated[
        int | None, typer.Option(help="Sequence length for FLOPs and cache. [default: 4096 or the model's longest]")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences in the cache.")] = 1,
    weights_dtype: Annotated[str, typer.Option(help="Weight format to highlight: bf16, fp8, mxfp4 ...")] = "bf16",
    kv_dtype: Annotated[str, typer.Option(help="Cache format: bf16, fp8 ...")] = "bf16",
    as_json: Json = False,
) -> None:
    """What is this model? Exact counts, memory and FLOPs of any MoE config."""
    from moewright.inspection import inspect as inspect_model

    inspection = inspect_model(
        config,
        tokens_per_sequence=tokens_per_sequence,
        batch=batch,
        weights_dtype=weights_dtype,  # type: ignore[arg-type]  # checked there
        kv_dtype=kv_dtype,  # type: ignore[arg-type]
    )
    if as_json:
        _print_json(inspection.to_dict())
    else:
        from moewright.report.inspection import print_inspection

        _show(print_inspection, inspection)


def _print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, allow_nan=False))


def _show(renderer: Callable[..., None], *values: Any) -> None:
    from rich.console import Console

    renderer(Console(highlight=False), *values)


def main() -> NoReturn:
    """Run the command line. Exit 0: done; 2: the input is wrong (one line on stderr); 1: it broke."""
    import click

    try:
        app(standalone_mode=False)
        sys.exit(0)
    except UserError as error:
        _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.exceptions.Exit as signal:
        sys.exit(signal.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.exit(1)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"moewright: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
