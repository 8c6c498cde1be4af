"""A layout in the words of Megatron-LM's command line and of torchtitan's configuration."""

from __future__ import annotations

from moewright.hardware.layout_record import LayoutRecord

# Megatron-LM, megatron/training/arguments.py; torchtitan, config/job_config.py: [parallelism], [activation_checkpoint].


def megatron_flags(layout: LayoutRecord, sequences: int, tokens_per_sequence: int, layers: int) -> list[str]:
    """Flags for pretrain_gpt.py; the model's own are what `export --format megatron` writes.

    ZeRO 1 is its distributed optimizer, ZeRO 2 and 3 its fully sharded data parallelism.
    """
    flags = [
        f"--tensor-model-parallel-size {layout.tp}",
        f"--pipeline-model-parallel-size {layout.pp}",
        f"--expert-model-parallel-size {layout.ep}",
        "--expert-tensor-parallel-size 1",
        f"--context-parallel-size {layout.cp}",
        f"--seq-length {tokens_per_sequence}",
        f"--micro-batch-size {layout.micro_batch}",
        f"--global-batch-size {sequences}",
    ]
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
    elif layout.recompute == "experts":
        flags.append("--recompute-granularity selective --recompute-modules moe_act")
    return flags


def torchtitan_settings(layout: LayoutRecord, sequences: int, tokens_per_sequence: int) -> list[str] | None:
    """Overrides of a torchtitan configuration; None where it has no such layout.

    It shards weights fully (ZeRO 3) or, with a pipeline, keeps them gathered after the forward pass.
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
    if layout.recompute == "experts":
        return None
    schedule = "Interleaved1F1B" if layout.chunks > 1 else "1F1B"
    pipeline = [f"--parallelism.pipeline_parallel_schedule {schedule}"] if layout.pp > 1 else []
    again = "full" if layout.recompute == "layers" else "none"
    return [
        *shards,
        f"--parallelism.tensor_parallel_degree {layout.tp}",
        f"--parallelism.pipeline_parallel_degree {layout.pp}",
        *pipeline,
        f"--parallelism.expert_parallel_degree {layout.ep}",
        f"--parallelism.context_parallel_degree {layout.cp}",
        f"--training.seq_len {tokens_per_sequence}",
        f"--training.local_batch_size {layout.micro_batch * layout.micro_batches}",
        f"--training.global_batch_size {sequences}",
        f"--activation_checkpoint.mode {again}",
    ]


def _uneven(layers: int, parts: int) -> str:
    """Megatron's notation: E embedding, t a layer, L the loss, | between parts; the earlier parts have one more."""
    each, more = divmod(layers, parts)
    sizes = [each + (place < more) for place in range(parts)]
    texts = ["t" * size for size in sizes]
    return "|".join(["E" + texts[0], *texts[1:-1], texts[-1] + "L"])
