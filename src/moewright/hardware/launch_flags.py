"""A layout in the words of Megatron-LM's command line, of torchtitan's configuration, and of three servers."""

from __future__ import annotations

from typing import Literal

from moewright.architecture.cache import CacheDtype
from moewright.architecture.spec import WeightFormatName
from moewright.hardware.activations import NOTHING
from moewright.hardware.layout_record import LayoutRecord
from moewright.hardware.layout_search import TrainingJob
from moewright.hardware.pretraining import OptimizerName
from moewright.hardware.serving import RESERVE
from moewright.hardware.serving_pass import ServingSoftware
from moewright.hardware.serving_record import ServingLayoutRecord
from moewright.hardware.training_step import TrainingPrecision

# Megatron-LM: megatron/training/arguments.py. torchtitan 0.3.0: config/, distributed/activation_checkpoint.py.


_MEGATRON_PRECISION: dict[TrainingPrecision, str] = {
    "bf16": "--bf16",
    "fp8": "--bf16 --fp8-format e4m3 --fp8-recipe blockwise --fp8-param-gather",
    "mxfp8": "--bf16 --fp8-format e4m3 --fp8-recipe mxfp8 --fp8-param-gather",
    "nvfp4": "--bf16 --fp4-format e2m1",
}
_MOMENTS = "--use-precision-aware-optimizer --exp-avg-dtype {0} --exp-avg-sq-dtype {0}"
_MEGATRON_OPTIMIZER: dict[OptimizerName, str] = {
    "adamw": "--optimizer adam",
    "adamw_bf16_moments": f"--optimizer adam {_MOMENTS.format('bf16')}",
    "adamw_precision_aware": f"--optimizer adam {_MOMENTS.format('bf16')}",
    "adamw_8bit": f"--optimizer adam {_MOMENTS.format('fp8')}",
    "muon": "--optimizer muon",
}


def megatron_flags(layout: LayoutRecord, job: TrainingJob) -> list[str]:
    """Flags for pretrain_gpt.py; the model's own are what `export --format megatron` writes.

    ZeRO 1 is its distributed optimizer, ZeRO 2 and 3 its fully sharded data parallelism.
    """
    layers = job.architecture.num_layers
    flags = [
        f"--tensor-model-parallel-size {layout.tp}",
        f"--pipeline-model-parallel-size {layout.pp}",
        f"--expert-model-parallel-size {layout.ep}",
        "--expert-tensor-parallel-size 1",
        f"--context-parallel-size {layout.cp}",
        f"--seq-length {job.tokens_per_sequence}",
        f"--micro-batch-size {layout.micro_batch}",
        f"--global-batch-size {job.sequences}",
        _MEGATRON_PRECISION[job.precision],
        _MEGATRON_OPTIMIZER[job.optimizer],
    ]
    if job.gradient_dtype == "bf16":
        flags.append("--grad-reduce-in-bf16")
    if layout.tp > 1:
        flags.append("--sequence-parallel")
    parts = layout.pp * layout.chunks
    if layout.pp > 1 and layers % parts:
        flags.append(f'--pipeline-model-parallel-layout "{_uneven(layers, parts)}"')
    elif layout.chunks > 1:
        flags.append(f"--num-layers-per-virtual-pipeline-stage {layers // parts}")
    if layout.zero == 1:
        flags.append("--use-distributed-optimizer")
    elif layout.zero > 1:
        kept = {2: "optim_grads", 3: "optim_grads_params"}[layout.zero]
        flags += ["--use-distributed-optimizer", "--use-megatron-fsdp", f"--data-parallel-sharding-strategy {kept}"]
    if layout.recompute == "layers":
        flags.append("--recompute-granularity full --recompute-method uniform --recompute-num-layers 1")
    elif layout.recompute != NOTHING:
        flags.append(f"--recompute-granularity selective --recompute-modules {layout.recompute.replace('+', ' ')}")
    return flags


def torchtitan_settings(layout: LayoutRecord, job: TrainingJob) -> list[str] | None:
    """Overrides of a torchtitan configuration in bf16 with AdamW; None where it has no such layout or recomputation.

    It shards weights fully (ZeRO 3) or, with a pipeline, keeps them gathered after the forward pass. Without a pipeline
    its local batch is what passes at a time, and it accumulates up to the global batch; with one it is all of a step.
    What is recomputed is a subcommand, so that it comes last.
    """
    if layout.zero == 0 and layout.dp > 1:
        shards = [
            f"--parallelism.data_parallel_replicate_degree {layout.dp}",
            "--parallelism.data_parallel_shard_degree 1",
        ]
    else:
        shards = [
            "--parallelism.data_parallel_replicate_degree 1",
            f"--parallelism.data_parallel_shard_degree {layout.dp}",
            f"--parallelism.fsdp_reshard_after_forward {'always' if layout.zero == 3 else 'never'}",
        ]
    if layout.recompute not in (NOTHING, "layers") or (job.precision, job.optimizer) != ("bf16", "adamw"):
        return None
    schedule = "Interleaved1F1B" if layout.chunks > 1 else "1F1B"
    pipeline = [
        f"--parallelism.pipeline_parallel_schedule {schedule}",
        f"--parallelism.pipeline_parallel_microbatch_size {layout.micro_batch}",
    ]
    if layout.pp == 1:
        pipeline = []
    again = "full" if layout.recompute == "layers" else "none"
    return [
        *shards,
        f"--parallelism.tensor_parallel_degree {layout.tp}",
        f"--parallelism.pipeline_parallel_degree {layout.pp}",
        *pipeline,
        f"--parallelism.expert_parallel_degree {layout.ep}",
        f"--parallelism.context_parallel_degree {layout.cp}",
        f"--training.seq_len {job.tokens_per_sequence}",
        f"--training.local_batch_size {layout.micro_batch * (layout.micro_batches if layout.pp > 1 else 1)}",
        f"--training.global_batch_size {job.sequences}",
        f"activation-checkpoint:{again}",
    ]


def _uneven(layers: int, parts: int) -> str:
    """Megatron's notation: E embedding, t a layer, L the loss, | between parts; the earlier parts have one more."""
    each, more = divmod(layers, parts)
    sizes = [each + (place < more) for place in range(parts)]
    texts = ["t" * size for size in sizes]
    return "|".join(["E" + texts[0], *texts[1:-1], texts[-1] + "L"])


# vLLM: docs/configuration/engine_args and features/speculative_decoding/mtp (0.19); SGLang: advanced_features/
# server_arguments and speculative_decoding; llama.cpp: tools/server/README.md. Formats: what their parsers take, vLLM
# 0.33 (config/cache.py, model_executor/layers/quantization), SGLang 0.5.23 (srt/arg_groups).
_ServerName = Literal["vLLM", "SGLang", "llama.cpp"]
_WEIGHTS: dict[WeightFormatName, str] = {
    "fp32": "--dtype float32",
    "bf16": "--dtype bfloat16",
    "fp16": "--dtype float16",
    "fp8": "--quantization fp8",
}
"""Of vLLM and SGLang alike. Narrower formats are the checkpoint's own, and no flag makes them."""
_CACHE: dict[_ServerName, dict[CacheDtype, str]] = {
    "vLLM": {
        "bf16": "--kv-cache-dtype bfloat16",
        "fp16": "--kv-cache-dtype float16",
        "fp8": "--kv-cache-dtype fp8",
        "int8": "--kv-cache-dtype int8_per_token_head",
    },
    "SGLang": {"bf16": "--kv-cache-dtype bf16", "fp8": "--kv-cache-dtype fp8_e4m3"},
    "llama.cpp": {
        "fp32": "--cache-type-k f32 --cache-type-v f32",
        "bf16": "--cache-type-k bf16 --cache-type-v bf16",
        "fp16": "--cache-type-k f16 --cache-type-v f16",
        "int8": "--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on",
    },
}


def what_flags_leave_out(weights_dtype: WeightFormatName, kv_dtype: CacheDtype, software: ServingSoftware) -> list[str]:
    """A sentence for each format that no flag of a server asks for."""
    servers: tuple[_ServerName, ...] = ("llama.cpp",) if software == "local" else ("vLLM", "SGLang")
    said = []
    if software == "local":
        said.append(f"Weights in {weights_dtype} are the GGUF file's; no flag of llama.cpp asks for them.")
    elif weights_dtype not in _WEIGHTS:
        said.append(
            f"Weights in {weights_dtype}: no flag asks for them; give vLLM and SGLang a checkpoint that is stored so."
        )
    lacking = [server for server in servers if kv_dtype not in _CACHE[server]]
    if lacking:
        said.append(f"A cache in {kv_dtype}: no flag asks for it; there is none of {' and '.join(lacking)}.")
    return said


def vllm_flags(
    layout: ServingLayoutRecord,
    context: int,
    weights_dtype: WeightFormatName,
    kv_dtype: CacheDtype,
    draft_tokens: int,
) -> list[str]:
    """Flags for `vllm serve MODEL`, for each of the instances.

    Without expert parallelism vLLM splits each expert over all devices that share a layer.
    """
    flags = [f"--tensor-parallel-size {layout.tp}"]
    if layout.dp > 1:
        flags.append(f"--data-parallel-size {layout.dp}")
    if layout.pp > 1:
        flags.append(f"--pipeline-parallel-size {layout.pp}")
    if layout.ep > 1:
        flags.append("--enable-expert-parallel")
    flags += [
        f"--max-model-len {context}",
        f"--max-num-seqs {-(-layout.batch // layout.dp)}",
        f"--gpu-memory-utilization {1 - RESERVE:g}",
        *_formats("vLLM", weights_dtype, kv_dtype),
    ]
    if draft_tokens:
        flags.append(f'--speculative-config \'{{"method": "mtp", "num_speculative_tokens": {draft_tokens}}}\'')
    return flags


def sglang_flags(
    layout: ServingLayoutRecord,
    context: int,
    weights_dtype: WeightFormatName,
    kv_dtype: CacheDtype,
    draft_tokens: int,
) -> list[str]:
    """Flags for `python -m sglang.launch_server --model-path MODEL`, for each of the instances.

    Its tensor degree counts the groups with sequences of their own too.
    """
    flags = [f"--tp-size {layout.tp * layout.dp}"]
    if layout.dp > 1:
        flags.append(f"--dp-size {layout.dp} --enable-dp-attention")
    if layout.pp > 1:
        flags.append(f"--pp-size {layout.pp}")
    if layout.ep > 1:
        flags.append(f"--ep-size {layout.ep}")
    flags += [
        f"--context-length {context}",
        f"--max-running-requests {layout.batch}",
        f"--mem-fraction-static {1 - RESERVE:g}",
        *_formats("SGLang", weights_dtype, kv_dtype),
    ]
    if draft_tokens:
        flags += [
            "--speculative-algorithm EAGLE",
            f"--speculative-num-steps {draft_tokens}",
            "--speculative-eagle-topk 1",
            f"--speculative-num-draft-tokens {draft_tokens + 1}",
        ]
    return flags


def _formats(server: _ServerName, weights_dtype: WeightFormatName, kv_dtype: CacheDtype) -> list[str]:
    asked = (_WEIGHTS.get(weights_dtype), _CACHE[server].get(kv_dtype))
    return [flag for flag in asked if flag is not None]


def llama_flags(layout: ServingLayoutRecord, context: int, kv_dtype: CacheDtype) -> list[str]:
    """Flags for `llama-server -m FILE.gguf` on one device; its context is that of all sequences together."""
    flags = ["--n-gpu-layers 999"]
    if layout.experts_on_host:
        flags.append(f"--n-cpu-moe {layout.experts_on_host}")
    flags += [f"--ctx-size {context * layout.batch}", f"--parallel {layout.batch}"]
    if kv_dtype in _CACHE["llama.cpp"]:
        flags.append(_CACHE["llama.cpp"][kv_dtype])
    return flags
