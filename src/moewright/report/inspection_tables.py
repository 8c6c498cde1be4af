"""The tables of `moewright inspect`, made to read well at 80 columns."""

from collections.abc import Iterable, Iterator
from functools import singledispatch

from rich.table import Table

from moewright.architecture.feed_forwards import Dense, MoE, NoFeedForward
from moewright.architecture.inventory import COMPONENT_WORDS
from moewright.architecture.mixers import (
    Attention,
    CompressedAttention,
    DifferentialAttention,
    GatedDeltaNet,
    GroupedMamba,
    KimiDeltaAttention,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mamba2,
    MixtureOfAttention,
    NoMixer,
    ParallelMixers,
    ShortConvolution,
    Window,
)
from moewright.architecture.spec import Layer, Repeat
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.hardware.inspection import WINDOWS_IN_FULL, Inspection, has_latent_attention
from moewright.hardware.mixture_anatomy import MoERecord
from moewright.quantities import format_bytes, format_count
from moewright.records import Record
from moewright.report.plain_tables import bare_table, number_table, print_labelled
from moewright.screen import Screen, styled


def print_inspection(console: Screen, inspection: Inspection) -> None:
    """Print sizes by component and the rest in a few lines, or every table."""
    family = f" ({inspection.family})" if inspection.family else ""
    total, active = format_count(inspection.total_params), format_count(inspection.active_params)
    console.print(
        styled("[bold]{}[/bold]{}: [bold]{}[/bold] parameters, {} active", inspection.name, family, total, active)
    )
    a = inspection.architecture
    facts = [f"{a.num_layers} layers", f"width {a.hidden_size}", f"vocabulary {a.vocab_size}"]
    facts += ["tied embeddings"] if a.tie_embeddings else []
    facts += [f"context {a.max_context}"] if a.max_context else []
    console.print(", ".join(facts))
    tables = (_components, _layers, _experts, _weights, _cache, _share, _flops)
    for table in tables if console.explain else (_components,):
        made = table(inspection)
        if made is not None:
            console.print()
            console.print(made)
    if not console.explain:
        print_labelled(console, _in_short(inspection))
    if inspection.hardware is not None:
        from moewright.report.hardware_tables import print_hardware  # brings numpy

        print_hardware(console, inspection.hardware)
    for warning in inspection.warnings:
        console.print(styled("[yellow]warning:[/yellow] {}", warning))
    if not console.explain:
        console.point_to("layers, granularities, every weight format, FLOPs by component")


def _in_short(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """The mixture, the bytes and the FLOPs, each in a line."""
    moe = inspection.moe
    if moe is not None:
        sizes = f"{_short(moe.top_k)} of {_short(moe.num_experts)} experts of {_short(moe.expert_size)}"
        shared = f"shared {_shared(moe)}" if moe.shared_experts else "none shared"
        yield "Mixture", f"{sizes}, {shared}; sparsity {_short(moe.sparsity)}"
    used, published = inspection.weights_dtype, inspection.published.total_bytes
    stored = "not known" if published is None else format_bytes(published)
    yield "Weights", f"{format_bytes(inspection.weights_bytes[used])} in {used}; as published {stored}"
    each, batch = inspection.cache_bytes_per_sequence, inspection.batch
    per_token = inspection.kv_bytes_per_token[inspection.cache_layout.latent]
    sequences = f"{batch:,} sequences" if batch > 1 else "a sequence"
    of_them = f"{sequences} of {inspection.tokens_per_sequence:,}"
    yield (
        "Cache",
        f"{per_token:,.0f} bytes a token in {inspection.kv_dtype}, {format_bytes(batch * each)} for {of_them}",
    )
    if inspection.cache_layout.windows == "full":
        yield "", WINDOWS_IN_FULL
    share = inspection.tensor_parallel
    if share is not None:
        yield "Device", f"{format_bytes(share.total)} of both on the fullest of {share.devices:,}, tensor parallel"
    forward, training = format_count(inspection.forward_flops), format_count(inspection.training_flops)
    yield "FLOPs", f"{forward} a token forward, {training} in training, over {inspection.tokens_per_sequence:,} tokens"


def _components(inspection: Inspection) -> Table:
    table = number_table(None, "Parameters (exact)", "total", "share", "active", "share")
    total, active = inspection.total_params, inspection.active_params
    for key, name in COMPONENT_WORDS.items():
        if inspection.params[key] or inspection.active[key]:
            one, other = inspection.params[key], inspection.active[key]
            table.add_row(name, f"{one:,}", f"{one / total:.1%}", f"{other:,}", f"{other / active:.1%}")
    table.add_section()
    all_of_it = (styled("[bold]{}[/bold]", text) for text in ("all", f"{total:,}", "", f"{active:,}"))
    table.add_row(*all_of_it, "")
    other_count = inspection.active_without_embedding
    words = "without the input embedding"
    if not inspection.active_counts_embedding:
        other_count, words = inspection.active_with_embedding, "with the input embedding"
    if other_count != active:
        table.add_row(f"active {words}", "", "", f"{other_count:,}", "")
    if inspection.mtp_params:
        table.add_row("apart: token prediction", f"{inspection.mtp_params:,}", "", "", "")
    return table


def _layers(inspection: Inspection) -> Table:
    table = bare_table("Layers")
    table.add_column("", no_wrap=True)
    for column in ("mixer", "feed-forward"):
        table.add_column(column, overflow="fold")
    for column in ("params each", "active"):
        table.add_column(column, justify="right", no_wrap=True)
    sizes = iter(inspection.layers)
    for times, layer in _written(inspection.architecture.layers):
        if layer is None:
            table.add_row(times, "", "", "", "")
            continue
        run = next(sizes)
        table.add_row(
            times,
            describe_part(layer.mixer),
            describe_part(layer.feed_forward),
            format_count(sum(run.params.values())),
            format_count(sum(run.active.values())),
        )
    return table


def _written(layers: Iterable[Layer | Repeat], indent: str = "") -> Iterator[tuple[str, Layer | None]]:
    """The layers as they are written: (how often, layer), and (how often, None) before a repeated pattern."""
    for item in layers:
        if isinstance(item, Layer):
            yield f"{indent}1", item
        elif len(item.layers) == 1 and isinstance(item.layers[0], Layer):
            yield f"{indent}{item.repeat}", item.layers[0]
        else:
            yield f"{indent}{item.repeat} times:", None
            yield from _written(item.layers, indent + "  ")


def _experts(inspection: Inspection) -> Table | None:
    moe = inspection.moe
    if moe is None:
        return None
    table = number_table(
        "Mixture of experts" if moe.uniform else "Mixture of experts (means over unlike layers)", "", ""
    )
    table.show_header = False
    rows = [
        ("experts E, of them active K", f"{_short(moe.num_experts)}, {_short(moe.top_k)}"),
        ("expert size d_e", _short(moe.expert_size)),
        ("shared experts", _shared(moe)),
        ("sparsity E/K", _short(moe.sparsity)),
        (
            "granularity d/d_e | 4d/d_e | 2d/d_e",
            " | ".join(_short(value) for value in moe.granularity.to_dict().values()),
        ),
        ("G, S (active experts in d_e, shared share)", f"{_short(moe.G)}, {_short(moe.S)}"),
        ("active / total parameters", f"{moe.activation_ratio:.2%}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _shared(moe: MoERecord) -> str:
    if not moe.shared_experts:
        return "none"
    size = "unlike sizes" if moe.shared_expert_size is None else f"size {moe.shared_expert_size}"
    return f"{_short(moe.shared_experts)}, {size}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _weights(inspection: Inspection) -> Table:
    # An answer on one screen has none of these.
    from moewright.architecture.gguf_presets import GGUF_PRESETS, WITH_PREDICTION, gguf_bytes

    table = number_table("Weights in memory, all experts resident", "format", "bytes", "")
    for name, stored in WEIGHT_FORMATS.items():
        label = styled("[bold]{}[/bold]" if name == inspection.weights_dtype else "{}", name)
        table.add_row(label, format_bytes(inspection.weights_bytes[name]), styled("{}", stored.description))
    table.add_section()
    sizes = {preset: gguf_bytes(inspection.architecture, preset, inspection.family) for preset in GGUF_PRESETS}
    for preset, size in sizes.items():
        if size is not None:
            bits = 8 * size / sum(inspection.params.values())
            table.add_row(preset, format_bytes(size), f"GGUF as llama.cpp mixes types, {bits:.2f} bits a weight")
    if inspection.architecture.mtp_layers and any(size is not None for size in sizes.values()):
        held = "with the prediction block" if inspection.family in WITH_PREDICTION else "without prediction blocks"
        table.add_row("", "", f"these files {held}")
    published = inspection.published
    size = published.total_bytes
    table.add_section()
    if size is None:
        table.add_row("as published", "not known", "")
    else:
        by_format = ((name, of_it) for name, (_, of_it) in published.by_format().items())
        parts = [f"{name} {format_bytes(of_it)}" for name, of_it in by_format]
        words = parts[0].split()[0] if len(parts) == 1 else ", ".join(parts)
        table.add_row(styled("[bold]as published[/bold]"), styled("[bold]{}[/bold]", format_bytes(size)), words)
        if ahead := published.prediction.total_bytes:
            table.add_row("", format_bytes(ahead), "of it the token prediction blocks")
    table.columns[2].justify = "left"
    return table


def _cache(inspection: Inspection) -> Table:
    tokens, batch = inspection.tokens_per_sequence, inspection.batch
    table = number_table(f"Cache in {inspection.kv_dtype}", "", "bytes")
    latent = has_latent_attention(inspection.architecture)
    per_token = inspection.kv_bytes_per_token
    layout = inspection.cache_layout
    words = {"latent": "per token, latent stored", "decompressed": "per token, decompressed by the runtime"}
    for name in sorted(words, key=lambda name: name != layout.latent) if latent else ():
        table.add_row(words[name], f"{per_token[name]:,.0f}")  # type: ignore[index]
    if not latent:
        table.add_row("per token", f"{per_token['latent']:,.0f}")
    if layout.windows == "full":
        table.add_row(WINDOWS_IN_FULL, "")
    if inspection.kv_bytes_per_token_beyond_windows != per_token[layout.latent]:
        table.add_row("per token once windows are full", f"{inspection.kv_bytes_per_token_beyond_windows:,.0f}")
    if inspection.state_bytes_per_sequence:
        table.add_row("constant states per sequence (recurrent in fp32)", f"{inspection.state_bytes_per_sequence:,}")
    table.add_row(f"one sequence of {tokens:,} tokens", format_bytes(inspection.cache_bytes_per_sequence))
    if batch > 1:
        table.add_row(f"batch of {batch:,}", format_bytes(batch * inspection.cache_bytes_per_sequence))
    weights = inspection.weights_bytes[inspection.weights_dtype]
    both = weights + batch * inspection.cache_bytes_per_sequence
    table.add_row(f"with the weights in {inspection.weights_dtype}", format_bytes(both))
    return table


def _share(inspection: Inspection) -> Table | None:
    share = inspection.tensor_parallel
    if share is None:
        return None
    table = number_table(f"Fullest of {share.devices:,} devices, tensor parallel", "", "bytes")
    table.add_row(f"weights in {inspection.weights_dtype}, experts whole", format_bytes(share.weights))
    copies = f" (a head or latent on up to {share.head_copies:,} devices)" if share.head_copies > 1 else ""
    table.add_row(f"cache per token{copies}", f"{share.cache_per_token:,.0f}")
    table.add_row(
        f"cache of {inspection.batch:,} x {inspection.tokens_per_sequence:,} tokens", format_bytes(share.cache)
    )
    table.add_row("weights and cache", format_bytes(share.total))
    return table


def _flops(inspection: Inspection) -> Table:
    title = f"FLOPs per token, causal sequence of {inspection.tokens_per_sequence:,} tokens"
    table = number_table(title, "", "FLOPs", "")
    forward = inspection.forward_flops
    table.add_row("forward", format_count(forward), "2 per multiply-add")
    for key, name in COMPONENT_WORDS.items():
        flops = inspection.forward_flops_by_component[key]
        if flops:
            table.add_row(f"  {name}", format_count(flops), f"{flops / forward:.1%}")
    table.add_row(
        "  of these between tokens", format_count(inspection.mixing_flops), f"{inspection.mixing_flops / forward:.1%}"
    )
    table.add_row("training", format_count(inspection.training_flops), "3 x forward")
    ratio = inspection.six_n_flops / inspection.training_flops
    table.add_row("6 x active parameters", format_count(inspection.six_n_flops), f"{ratio:.3f} of training")
    table.columns[2].justify = "left"
    return table


@singledispatch
def describe_part(part: Record) -> str:
    """A part in at most some thirty characters."""
    return type(part).__name__


@describe_part.register
def _attention(mixer: Attention) -> str:
    if mixer.num_kv_heads == mixer.num_heads:
        text = f"MHA {mixer.num_heads}x{mixer.head_dim}"
    else:
        text = f"GQA {mixer.num_heads}:{mixer.num_kv_heads}x{mixer.head_dim}"
    if mixer.value_channels != mixer.head_dim:
        text += f"/{mixer.value_channels}"
    if mixer.q_rank is not None:
        text += f", queries through {mixer.q_rank}"
    if mixer.key_values != "own":
        text += ", values = keys" if mixer.key_values == "keys" else ", earlier keys"
    if mixer.indexer:
        text += f", {mixer.indexer.top_blocks} blocks of {mixer.indexer.block_size}"
    return text + _window(mixer.window)


def _window(window: Window | None) -> str:
    if window is None:
        return ""
    return f", {'window' if window.kind == 'sliding' else 'chunks'} {window.size}"


@describe_part.register
def _latent(mixer: LatentAttention) -> str:
    text = f"MLA {mixer.num_heads} heads, latent {mixer.kv_lora_rank}+{mixer.qk_rope_head_dim}"
    if mixer.key_values != "own":
        text += ", earlier"
    if mixer.indexer:
        text += f", sparse {mixer.indexer.top_k}"
    return text + _window(mixer.window)


@describe_part.register
def _compressed(mixer: CompressedAttention) -> str:
    rate = f", 1:{mixer.compress_rate} beyond" if mixer.compress_rate else ""
    return f"MQA {mixer.num_heads}x{mixer.head_dim}{_window(mixer.window)}{rate}"


@describe_part.register
def _mixture(mixer: MixtureOfAttention) -> str:
    return f"MoA {mixer.num_kv_heads}x{mixer.head_dim}, {mixer.top_k} of {mixer.num_experts}"


@describe_part.register
def _differential(mixer: DifferentialAttention) -> str:
    heads = f"{mixer.num_heads - mixer.num_noise_heads}-{mixer.num_noise_heads}:{mixer.num_kv_heads}"
    return f"differential {heads}x{mixer.head_dim}{_window(mixer.window)}"


@describe_part.register
def _parallel(mixer: ParallelMixers) -> str:
    return f"{describe_part(mixer.attention)} beside {describe_part(mixer.state_space)}"


@describe_part.register
def _grouped_mamba(mixer: GroupedMamba) -> str:
    return f"Mamba {mixer.inner_size}:{mixer.grouped_size}, state {mixer.state_size}"


@describe_part.register
def _delta(mixer: GatedDeltaNet) -> str:
    return f"delta net {mixer.num_value_heads} heads {mixer.key_head_dim}x{mixer.value_head_dim}"


@describe_part.register
def _kimi(mixer: KimiDeltaAttention) -> str:
    return f"KDA {mixer.num_heads}x{mixer.head_dim}"


@describe_part.register
def _lightning(mixer: LightningAttention) -> str:
    return f"lightning {mixer.num_heads}x{mixer.head_dim}"


@describe_part.register
def _mamba(mixer: Mamba) -> str:
    return f"Mamba {mixer.inner_size}, state {mixer.state_size}"


@describe_part.register
def _mamba2(mixer: Mamba2) -> str:
    return f"Mamba-2 {mixer.num_heads}x{mixer.head_dim}, state {mixer.state_size}"


@describe_part.register
def _convolution(mixer: ShortConvolution) -> str:
    return f"convolution {mixer.kernel}"


@describe_part.register
def _no_mixer(mixer: NoMixer) -> str:
    return "none"


@describe_part.register
def _no_feed_forward(feed_forward: NoFeedForward) -> str:
    return "none"


@describe_part.register
def _dense(feed_forward: Dense) -> str:
    return f"dense {feed_forward.size}"


@describe_part.register
def _moe(moe: MoE) -> str:
    text = " + ".join(f"{group.top_k} of {group.count} x {group.expert_size}" for group in moe.groups)
    if moe.latent_size is not None:
        text += f" in latent {moe.latent_size}"
    if moe.identity_experts:
        text += f" + {moe.identity_experts} idle"
    if moe.shared:
        count = f"{moe.shared.count} x " if moe.shared.count > 1 else ""
        text += f" + shared {count}{moe.shared.expert_size}"
    if moe.parallel_dense:
        text += f" + dense {moe.parallel_dense.size}"
    return text
