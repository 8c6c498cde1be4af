"""What a logged name means, whoever gave it: the loss of training, of evaluation, tokens, the learning rate."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_WORD = re.compile(r"[a-z]+|\d+")
_EVALUATION = {"eval", "evaluation", "val", "valid", "validation", "test", "dev", "heldout", "holdout"}
_LOSS = {"loss", "ce", "nll", "xent", "crossentropy"}
_OTHER = {
    *(
        "aux",
        "auxiliary",
        "balance",
        "balancing",
        "router",
        "z",
        "ppl",
        "perplexity",
        "max",
        "min",
        "scale",
        "vs",
        "mtp",
    ),
    *("best", "std", "var", "load", "runtime", "ema", "hparam", "epoch", "per", "delta", "spike", "lb", "lbl", "reg"),
    *("kl", "grad", "norm", "count", "ratio", "acc", "accuracy", "bpb"),
}
_RATE = {"per", "second", "sec", "s", "tps", "device", "gpu", "throughput"}
_COUNT = {"total", "seen", "consumed", "processed", "trained", "num"}


def words_of(name: str) -> set[str]:
    """The words in a metric's name: `trainLoss`, `train_loss` and `train/loss` have the same."""
    return set(_WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def is_loss(name: str) -> bool:
    """Whether a metric is a language model's loss, and not an auxiliary one, a maximum or a perplexity."""
    words = words_of(name)
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    joined = "trainloss" in last or "valloss" in last or "evalloss" in last or "testloss" in last
    return (bool(words & _LOSS) or joined) and not words & _OTHER


def is_evaluation(name: str) -> bool:
    """Whether a metric is of held-out text."""
    return bool(words_of(name) & _EVALUATION) or "valloss" in name.lower() or "evalloss" in name.lower()


def training_losses(names: Iterable[str]) -> list[str]:
    """Names of the training loss, the likeliest first."""
    return sorted((name for name in names if is_loss(name) and not is_evaluation(name)), key=_plainness)


def evaluation_losses(names: Iterable[str]) -> list[str]:
    """Names of the evaluation's loss, the likeliest first."""
    return sorted((name for name in names if is_loss(name) and is_evaluation(name)), key=_plainness)


def learning_rates(names: Iterable[str]) -> list[str]:
    """Names of the learning rate as it was logged, the likeliest first.

    >>> learning_rates(["loss", "optim/lr", "learning rate", "lr_scale"])
    ['optim/lr', 'learning rate']
    """
    found = (name for name in names if {"learning", "rate"} <= (words := words_of(name)) or "lr" in words)
    return sorted((name for name in found if not words_of(name) & _OTHER), key=lambda name: (len(name), name))


def _plainness(name: str) -> tuple[int, str]:
    return len(words_of(name) - {"train", "training", "lm", "ce", "metrics", "global", "avg", "mean"}), name


def token_counters(names: Iterable[str]) -> list[str]:
    """Names of metrics that count the tokens trained on so far, the likeliest first."""
    found = []
    for name in names:
        words = words_of(name)
        if words & {"tokens", "token"} and not words & _LOSS and not is_evaluation(name):
            rate = words & _RATE - ({"throughput"} if "total" in words else set())
            if not rate and (words & _COUNT or words <= {"tokens", "train", "n", "training"}):
                found.append(name)
    return sorted(found, key=lambda name: (len(words_of(name)), name))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings with the names of their sections before them, outer ones first: `data_loader.seed`.

    What W&B wraps as {"value": ...} is unwrapped.
    """
    found: dict[str, Any] = {}
    deeper: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and set(value) in ({"value"}, {"value", "desc"}):
            value = value["value"]
        if isinstance(value, dict):
            deeper |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found | deeper


SETTINGS: dict[str, tuple[str, ...]] = {
    "learning_rate": ("learning_rate", "lr", "peak_lr", "max_lr", "base_lr"),
    "seed": ("seed", "random_seed", "init_seed"),
    "warmup_steps": ("warmup_steps", "lr_warmup_iters", "warmup_iters", "num_warmup_steps"),
    "planned_steps": (
        *("max_steps", "train_iters", "max_iters", "total_steps", "num_train_steps", "num_steps", "training_steps"),
        *("num_iterations", "n_steps", "trainer.max_steps", "training.steps"),
    ),
    "hidden_size": ("hidden_size", "d_model", "n_embd", "dim", "model_dim", "width"),
    "num_layers": ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "layers"),
    "num_heads": ("num_attention_heads", "n_heads", "n_head", "num_heads"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "num_moe_experts", "n_experts"),
    "top_k": ("num_experts_per_tok", "moe_router_topk", "top_k", "moe_top_k", "num_experts_per_token", "topk"),
    "expert_size": ("moe_intermediate_size", "moe_ffn_hidden_size", "expert_size", "moe_hidden_size"),
    "total_params": ("num_parameters", "total_params", "n_params", "num_params", "total_parameters", "parameters"),
    "active_params": ("active_params", "active_parameters", "num_active_parameters", "n_active_params"),
}
"""Our name: what others call it in their settings, the likeliest first."""
_OF_THE_MODEL = (
    *("hidden_size", "num_layers", "num_heads", "vocab_size", "num_experts", "top_k", "expert_size"),
    *("total_params", "active_params"),
)
"""Those that no restart of a run can change."""

_BATCH = ("global_batch_size", "total_batch_size", "train_batch_size", "batch_size", "effective_batch_size")
_LENGTH = (
    *("seq_length", "seq_len", "sequence_length", "max_seq_len", "max_seq_length", "block_size", "context_length"),
    *("max_sequence_length", "n_ctx", "ctx_len"),
)
_TOKENS = ("tokens_per_step", "batch_tokens", "global_batch_tokens", "tokens_per_batch", "batch_size_tokens")


def setting(config: Mapping[str, Any], names: Iterable[str]) -> tuple[str, float] | None:
    """The first of the names that is set to a number in flat settings, in any section; its full name and the number."""
    for name in names:
        for key, value in config.items():
            if (key == name or key.endswith((f".{name}", f"/{name}"))) and _is_number(value):
                return key, float(value)
    return None


def other_model(config: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """In which sizes two runs' settings say that their models differ, in words; empty where they say no such thing.

    >>> other_model({"model": {"n_embd": 512}}, {"n_embd": 256, "n_layer": 8})
    'n_embd 512, not 256'
    """
    one, other = flat(config), flat(before)
    pairs = [(setting(one, SETTINGS[name]), setting(other, SETTINGS[name])) for name in _OF_THE_MODEL]
    differ = [(now, then) for now, then in pairs if now and then and abs(now[1] - then[1]) > 1e-3 * abs(then[1])]
    return ", ".join(f"{now[0].rpartition('.')[2]} {now[1]:.6g}, not {then[1]:.6g}" for now, then in differ)


def tokens_per_step(config: Mapping[str, Any]) -> tuple[float, str] | None:
    """Tokens of one optimizer step by the settings, and which they were; None where they do not say."""
    given = setting(config, _TOKENS)
    if given is not None:
        return given[1], given[0]
    batch, length = setting(config, _BATCH), setting(config, _LENGTH)
    if batch is None:
        each = setting(config, ("per_device_train_batch_size", "micro_batch_size"))
        if each is not None:
            size, why = each[1], each[0]
            for name in ("gradient_accumulation_steps", "world_size"):
                more = setting(config, (name,))
                if more is not None:
                    size, why = size * more[1], f"{why} x {name}"
            batch = why, size
    if batch is None or length is None:
        return None
    return batch[1] * length[1], f"{batch[0]} x {length[0]}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
