"""The command line: one thin function per command, which imports what it needs when it runs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from moewright.errors import OtherProcessError, RunStopped, UserError
from moewright.report import show

app = typer.Typer(
    name="moewright",
    help="From memory, inference and training budgets to a Mixture-of-Experts language model that you can build.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(help="Data for training runs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

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
    hardware: Annotated[
        str | None, typer.Option(help="Device, such as H100, or a YAML file of devices: FILE or FILE:NAME.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="How many of that device. [default: 1]")] = None,
    as_json: Json = False,
) -> None:
    """What is this model? Exact counts, memory and FLOPs of any MoE config; speed and fit on a device."""
    from moewright.commands.inspect import inspect as inspect_model

    inspection = inspect_model(
        config,
        tokens_per_sequence=tokens_per_sequence,
        batch=batch,
        weights_dtype=weights_dtype,  # type: ignore[arg-type]  # checked there
        kv_dtype=kv_dtype,  # type: ignore[arg-type]
        hardware=hardware,
        devices=devices,
    )
    if as_json:
        _print_json(inspection.to_dict())
    else:
        show(inspection)


@app.command()
def predict(
    config: Annotated[Path, typer.Argument(help="HF config.json, its folder, or a moewright architecture file.")],
    train_tokens: Annotated[str, typer.Option(help="Training tokens, such as 2T.")],
    law: Annotated[
        list[str] | None, typer.Option(help="A law's name or the file of a fitted one; repeatable. [default: all]")
    ] = None,
    as_json: Json = False,
) -> None:
    """How good will it be? What every scaling law that applies expects, and how far it must extrapolate."""
    from moewright.commands.predict import predict as predict_losses

    prediction = predict_losses(config, train_tokens, law or None)
    if as_json:
        _print_json(prediction.to_dict())
    else:
        show(prediction)


@app.command()
def laws(
    name: Annotated[
        str | None, typer.Argument(help="A law's name, or the file of a fitted one. [default: list all]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which scaling laws are there, and what does each say?"""
    from moewright.commands.predict import resolve_law
    from moewright.laws import describe, describe_all

    if name is None:
        listed = describe_all()
        if as_json:
            _print_json({"laws": listed})
        else:
            from moewright.report.law_tables import print_laws

            _show(print_laws, listed)
        return
    described = describe(resolve_law(name))
    if as_json:
        _print_json(described)
    else:
        from moewright.report.law_tables import print_law

        _show(print_law, described)


@app.command()
def fit(
    runs: Annotated[Path, typer.Argument(help="Run table: CSV, Parquet or JSON lines, one row per run.")],
    law: Annotated[str, typer.Option(help="The law whose form is fitted; `moewright laws` lists them.")],
    source: Annotated[str | None, typer.Option(help="Which public table the file is, such as joint_moe.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep rows: COLUMN=VALUE[,VALUE]; repeatable.")] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Rows to judge by: largest:0.1, best:0.1, random:0.2, COLUMN:0.2, COLUMN=VALUE.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Replicates for the intervals.")] = 1000,
    loss: Annotated[str, typer.Option(help="Column of the loss.")] = "loss",
    weights: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    cluster: Annotated[
        list[str] | None, typer.Option(help="Columns that name a configuration. [default: the law's variables]")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="robust_log, huber_log, squares_log, squares, asymmetric. [default: the law's]")
    ] = None,
    tuning: Annotated[
        str | None, typer.Option(help="best: choose asymptote and weights by the best rows; none. [default: the law's]")
    ] = None,
    asymptote: Annotated[float | None, typer.Option(help="Pin the loss of an endless model.")] = None,
    fix: Annotated[list[str] | None, typer.Option(help="Keep a coefficient: NAME=VALUE; repeatable.")] = None,
    bound: Annotated[list[str] | None, typer.Option(help="Bound a coefficient: NAME=LOW:HIGH; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of starts, bootstrap and random holdouts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSON file for the fitted law.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for its figures, as PNG and HTML.")] = None,
    as_json: Json = False,
) -> None:
    """What law do my runs follow? A law's form fitted to a run table, with intervals."""
    from moewright.commands.fit import fit as fit_law

    fitted = fit_law(
        runs,
        law,
        source=source,
        where={name: values.split(",") for name, values in _pairs(where, "where")},
        holdout=holdout,
        bootstrap=bootstrap,
        out=out,
        loss=loss,
        weights=weights,
        cluster=cluster or None,
        objective=objective,
        tuning=tuning,
        asymptote=asymptote,
        fixed={name: _as_number(value, f"fix {name}") for name, value in _pairs(fix, "fix")},
        bounds={name: _as_range(value, f"bound {name}") for name, value in _pairs(bound, "bound")},
        random_state=seed,
    )
    written = [out] if out is not None else []
    if plots is not None:
        from moewright.report.fit_figures import write_figures

        written += write_figures(fitted, plots)
    if as_json:
        _print_json(fitted.to_dict())
        return
    show(fitted)
    for path in written:
        print(f"written: {path}")


@app.command()
def design(
    memory: Annotated[
        str | None, typer.Option(help="Memory of each device for weights and cache, such as 80GB or 80GiB.")
    ] = None,
    total_params: Annotated[str | None, typer.Option(help="Instead of memory: total parameters, such as 30B.")] = None,
    active_params: Annotated[str | None, typer.Option(help="Parameters that a token may use, such as 3B.")] = None,
    decode_tokens_per_second: Annotated[
        str | None, typer.Option(help="Tokens a second for each sequence of the batch; needs --hardware.")
    ] = None,
    time_to_first_token: Annotated[
        str | None, typer.Option(help="Seconds for the batch's prompts; needs --hardware.")
    ] = None,
    train_tokens: Annotated[str | None, typer.Option(help="Training tokens, such as 2T.")] = None,
    train_flops: Annotated[str | None, typer.Option(help="Instead of tokens: training FLOPs, such as 1e23.")] = None,
    train_device_hours: Annotated[
        str | None, typer.Option(help="Instead of tokens: device-hours of training on --hardware.")
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="Device that serves, such as H100, or a file.")] = None,
    devices: Annotated[int | None, typer.Option(help="How many of them. [default: 1]")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of each sequence in the cache. [default: 32768]")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences in the cache. [default: 1]")] = None,
    weights_dtype: Annotated[str | None, typer.Option(help="Weight format that memory counts. [default: bf16]")] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="Cache format. [default: bf16]")] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Entries of the vocabulary. [default: 128256]")] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file with the rules of the space to search.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="A published model's config: its own size and active parameters as budgets.")
    ] = None,
    law: Annotated[
        list[str] | None, typer.Option(help="Names restrict the published laws, files of fitted ones join; repeatable.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many designs to show.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="New folder for specs, HF configs, reasons and plots of the designs.")
    ] = None,
    print_space: Annotated[
        bool, typer.Option("--print-space", help="Print the space's rules and reasons as YAML, and do nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Which model should I build? Budgets in, ranked buildable models out."""
    given: dict[str, Any] = {
        "memory": memory,
        "total_params": total_params,
        "active_params": active_params,
        "decode_tokens_per_second": decode_tokens_per_second,
        "time_to_first_token": time_to_first_token,
        "train_tokens": train_tokens,
        "train_flops": train_flops,
        "train_device_hours": train_device_hours,
        "hardware": hardware,
        "devices": devices,
        "context": context,
        "batch": batch,
        "weights_dtype": weights_dtype,
        "kv_dtype": kv_dtype,
        "vocab_size": vocab_size,
        "like": like,
        "law": law or None,
    }
    if print_space:
        from moewright.designs.space import Space, describe_space, load_space

        unused = next((name for name, value in {**given, "out": out}.items() if value is not None), None)
        if unused is not None:
            raise UserError(f"{unused.replace('_', '-')}: --print-space prints the rules and takes --space only")
        print(describe_space(load_space(space) if space is not None else Space()), end="")
        return
    from moewright.commands.design import design as design_models

    designs = design_models(**given, space=space, top=top)
    if out is not None:
        from moewright.report.design_folder import write_designs

        write_designs(designs, out)
    if as_json:
        _print_json(designs.to_dict())
        return
    show(designs)
    if out is not None:
        print(f"written to {out}: {len(designs.designs)} designs with specs, HF configs and reasons; plots")


@app.command()
def train(
    spec: Annotated[Path, typer.Argument(help="Recipe: a YAML or JSON file with model, data and training settings.")],
    out: Annotated[Path | None, typer.Option(help="Run folder: a new one, or one that this recipe began.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print what the run will take; train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Is that so on my data? Train a recipe; again with the same folder continues an interrupted run exactly."""
    if dry_run == (out is not None):
        raise UserError("out: needed to train, and without use in a dry run; give --out DIR or --dry-run")
    if out is None:
        planned = _lab("experiment.planning").plan_run(spec)
        if as_json:
            _print_json({**planned.facts, "warnings": list(planned.warnings)})
        else:
            show(planned)
        return
    result = _lab("lab.training").train(spec, out)
    if not result.is_first:
        return
    if as_json:
        _print_json({"out": str(out), **result.summary})
    else:
        show(result)
    if result.state == "interrupted":
        raise typer.Exit(130)


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(help="Sweep: a YAML or JSON file with a recipe and the axes that vary.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep: a new one, or one to go on in.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs at a time. [default: one per core; on Slurm no limit]", min=1)
    ] = None,
    executor: Annotated[str, typer.Option(help="Where runs go: local or slurm.")] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs, what they will take and what they can tell; run nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look on at a sweep under way; run nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Give runs that failed too often another round.")
    ] = False,
    add: Annotated[bool, typer.Option("--add", help="Run beside the runs of another sweep in the folder.")] = False,
    forecast: Annotated[
        list[str] | None,
        typer.Option(help="Dry run: a law's name or file, instead of the specification's forecast; repeatable."),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Dry run: standard deviation of log loss between seeds, for the forecast.")
    ] = None,
    as_json: Json = False,
) -> None:
    """... at many settings: plan, price and run a sweep; again with the same folder goes on where it was."""
    _lab("commands.sweep").check_options(
        out,
        jobs=jobs,
        executor=executor,
        dry_run=dry_run,
        watch=watch,
        retry_failed=retry_failed,
        add=add,
        forecast=forecast,
        noise=noise,
    )
    if dry_run:
        from moewright.report.dry_run_tables import calibration_progress

        planned = _lab("sweeps.foresight.dry_run").dry_run(
            spec,
            out,
            jobs=jobs,
            executor=executor,
            forecast=forecast,
            noise=noise,
            progress=calibration_progress,
        )
        if as_json:
            _print_json(planned.to_dict())
        else:
            show(planned)
        return
    assert out is not None, "checked above"
    from moewright.report import sweep_tables

    if watch:
        result = sweep_tables.watch_sweep(spec, out)
    else:
        result = sweep_tables.run_sweep(spec, out, jobs=jobs, executor=executor, retry_failed=retry_failed, add=add)
    if as_json:
        _print_json(result.to_dict())
    else:
        show(result)
    if not watch and not result.is_complete:
        raise typer.Exit(1)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="A sweep's or a run's folder, or one with runs anywhere below it.")],
    out: Annotated[Path | None, typer.Option(help="Run table for `fit`: .parquet, .csv or .jsonl.")] = None,
    curves: Annotated[Path | None, typer.Option(help="Learning curves: .parquet or .csv.gz.")] = None,
    as_json: Json = False,
) -> None:
    """What came of my runs? The run table, made anew from their files at any time, and what to know before a fit."""
    from moewright.experiment.collecting.collection import collect

    collected = collect(folder, out, curves)
    if as_json:
        _print_json(collected.to_dict())
    else:
        show(collected)


@app.command()
def export(
    design: Annotated[Path, typer.Argument(help="A design's or a run's folder, a moewright file, or a HF config.")],
    format: Annotated[str, typer.Option(help="hf, megatron, olmo-core or torchtitan.")],
    out: Annotated[Path, typer.Option(help="New folder for the files.")],
    balance_loss: Annotated[
        str | None,
        typer.Option(help="Balance loss: 1 per layer when balanced, averaged over layers. [default: none]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Now build it: the model in a framework's own terms, or which of its fields that framework cannot express."""
    from moewright.commands.export import export as export_model

    exported = export_model(design, format, out, balance_loss=balance_loss)
    files = sorted(path.name for path in out.iterdir())
    if as_json:
        _print_json({"out": str(out), **exported.to_dict(), "files": files})
        return
    show(exported)
    print(f"written to {out}: {', '.join(files)}")


@data_app.command("prepare")
def data_prepare(
    sources: Annotated[
        list[Path], typer.Argument(help="Text, JSON lines or Parquet files, folders of them, or a saved HF dataset.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the token shards.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Hugging Face tokenizer.json.")] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Instead of it: tokens of a BPE to train on the text.")] = None,
    text_key: Annotated[str | None, typer.Option(help="Column with the text. [default: text]")] = None,
    source_key: Annotated[
        str | None, typer.Option(help="Column with the source of each text. [default: a source per file or folder]")
    ] = None,
    document_separator: Annotated[
        str | None, typer.Option(help="What divides documents in text files. [default: <|endoftext|>]")
    ] = None,
    end_of_document: Annotated[
        str | None, typer.Option(help="The tokenizer's token that ends a document. [default: one of the usual ones]")
    ] = None,
    validation_share: Annotated[float, typer.Option(help="Share of each source's bytes to hold out.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the order and of the held-out documents.")] = 0,
    as_json: Json = False,
) -> None:
    """Make token shards: text is encoded, shuffled, freed of duplicates, and split for training and validation."""
    from moewright.data import prepare

    dataset = prepare(
        sources,
        out,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        text_key=text_key,
        source_key=source_key,
        document_separator=document_separator,
        end_of_document=end_of_document,
        validation_share=validation_share,
        seed=seed,
    )
    assert dataset.record is not None  # a prepared folder has one
    if as_json:
        recorded = dataset.record.model_dump(mode="json")
        _print_json({"out": str(out), "fingerprint": dataset.fingerprint, **recorded})
        return
    show(dataset.record)
    print(f"written to {out}; fingerprint {dataset.fingerprint[:16]}")


def _lab(module: str) -> Any:
    """A module of the lab, which needs torch; without it, one line that says what to install."""
    from importlib import import_module

    try:
        return import_module(f"moewright.{module}")
    except ImportError as error:
        if error.name not in ("torch", "safetensors", "tokenizers"):
            raise
        raise UserError(f'{error.name} is not installed; pip install "moewright[lab]"') from None


def _pairs(written: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in written or []:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise UserError(f"{option}: expected NAME=VALUE, got {text!r}")
        pairs.append((name, value))
    return pairs


def _as_number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{name}: {text!r} is not a number") from None


def _as_range(text: str, name: str) -> tuple[float, float]:
    low, separator, high = text.partition(":")
    if not separator:
        raise UserError(f"{name}: expected LOW:HIGH, got {text!r}")
    return _as_number(low, name), _as_number(high, name)


def _print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, allow_nan=False))


def _show(renderer: Callable[..., None], *values: Any) -> None:
    from rich.console import Console

    renderer(Console(highlight=False), *values)


# typer brings its own copy of click in some releases and imports click in others; this base is right in both.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main() -> NoReturn:
    """Run the command line. Exit 0: done; 2: the input is wrong (one line on stderr); 1: it broke."""
    try:
        sys.exit(app(standalone_mode=False))
    except UserError as error:
        _fail(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())  # type: ignore[attr-defined]
            sys.exit(2)
        _fail(error.format_message())  # type: ignore[attr-defined]
    except RunStopped as stopped:
        _fail(str(stopped), 1)
    except OtherProcessError:
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"moewright: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
