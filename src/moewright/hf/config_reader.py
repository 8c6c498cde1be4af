"""What a family of config.json files is, and typed, watchful access to one: every value is checked, every key is
accounted for."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from moewright.architecture.feed_forwards import Activation
from moewright.architecture.mixers import Rope
from moewright.architecture.spec import LARGEST_LAYER_COUNT, Architecture
from moewright.complaints import MISSPELT, near_name
from moewright.errors import UserError
from moewright.foreign_text import shortened
from moewright.quantities import LARGEST, brief
from moewright.records import LARGEST_SIZE

# Keys of every family that say nothing about the architecture: training, generation and bookkeeping.
NEUTRAL_KEYS = frozenset(
    # Written as text for the reader's sake: a list would be a page long.
    """
    _name_or_path _attn_implementation _attn_implementation_autoset architectures auto_map transformers_version
    torch_dtype dtype use_cache initializer_range return_dict output_hidden_states output_attentions problem_type
    chunk_size_feed_forward is_encoder_decoder is_decoder add_cross_attention id2label label2id task_specific_params
    bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id decoder_start_token_id unk_token_id
    attention_dropout hidden_dropout resid_pdrop embd_pdrop output_router_logits router_aux_loss_coef
    router_jitter_noise pretraining_tp model_type quantization_config compression_config quantization tokenizer_class
    finetuning_task torchscript
    tie_encoder_decoder cross_attention_hidden_size pruned_heads tf_legacy_loss use_bfloat16 prefix
    max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
    remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    """.split()  # noqa: SIM905
)

_SPEAKS_OF_EXPERTS = r"(?i)experts(_|$)|(^|_)moe(_|$)"
MOST_UNKNOWN = 100
"""Unknown keys of a config that are named one by one; wrappers and publishers' own files have dozens."""
_LONGEST_KEY = 200
_MOST_KEYS = 1000
"""Keys among which the one that may have been meant is looked for."""

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "situ": "situ",
    "xielu": "xielu",
}
HF_ACTIVATIONS: dict[Activation, str] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "situ": "situ",
    "xielu": "xielu",
    "poly_norm": "poly_norm",
}


class Family(NamedTuple):
    """One model_type. Sources: the configuration and modeling modules of transformers 5.23, and published configs."""

    model_type: str
    class_name: str
    """The causal-LM class, for `architectures` in an exported config."""
    read: Callable[["Config"], Architecture]
    defaults: Mapping[str, Any]
    """What an absent key means. Sizes are not in here: without them there is no model to count."""
    aliases: Mapping[str, str] = MappingProxyType({})
    """Other spellings of a key -> the one that `read` uses."""
    neutral: tuple[str, ...] = ()
    """Known keys that change neither counts nor routing as the spec states it."""
    active_counts_embedding: bool = True
    """Whether this family's publishers count the input embedding among the active parameters that they print."""
    reads_blocks: bool = False
    """Whether `read` takes `block_configs` itself."""
    write: Callable[[Architecture], dict[str, Any]] | None = None
    """The config of an architecture that this family may express. It need not check that the family can: the caller
    reads the result back and compares. None: moewright does not export to this family."""


class Config:
    """The values of one config.json, read key by key.

    Absent keys take the family's default (what transformers does without the key); a key that has none is required.
    A value of the wrong kind is a UserError that names the key. `finish` reports what was never looked at.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        family: str,
        defaults: Mapping[str, Any],
        aliases: Mapping[str, str],
        neutral: Iterable[str],
        prefix: str = "",
    ) -> None:
        self.family = family
        self.warnings: list[str] = []
        self._prefix = prefix
        self._defaults = defaults
        self._neutral = NEUTRAL_KEYS.union(neutral)
        self._used: set[str] = set()
        self._assumed: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._written: dict[str, str] = {}
        for key, value in values.items():
            name = aliases.get(key, key)
            if name in self._values and not _same(self._values[name], value):
                other = self._written[name]
                raise UserError(
                    f"{prefix}{key}: {_shown(value)} contradicts {prefix}{other}: {_shown(self._values[name])}"
                )
            self._values[name] = value
            self._written[name] = key

    # Typed reading

    def size(self, key: str) -> int:
        """A positive integer."""
        return self._integer(key, self._get(key), least=1)

    def optional_size(self, key: str) -> int | None:
        """A positive integer or null."""
        value = self._get(key)
        return None if value is None else self._integer(key, value, least=1)

    def count(self, key: str) -> int:
        """A non-negative integer; null means none."""
        value = self._get(key)
        return 0 if value is None else self._integer(key, value, least=0)

    def num_layers(self, key: str = "num_hidden_layers") -> int:
        """The number of layers, kept small enough to be written out."""
        value = self.size(key)
        if value > LARGEST_LAYER_COUNT:
            raise self.error(key, f"more than {LARGEST_LAYER_COUNT} layers", value)
        return value

    def flag(self, key: str) -> bool:
        """true or false; null means false."""
        value = self._get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.error(key, "expected true or false", value)
        return value

    def number(self, key: str) -> float:
        """A positive finite number."""
        return self.number_at(key, self._get(key))

    def number_at(self, place: str, value: Any) -> float:
        """A positive finite number that stands somewhere inside a key's value."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
            raise self.error(place, "expected a positive number", value)
        return float(value)

    def size_at(self, place: str, value: Any) -> int:
        """A positive integer that stands somewhere inside a key's value."""
        return self._integer(place, value, least=1)

    def layer_thetas(self, n: int, otherwise: Sequence[float]) -> Sequence[float]:
        """layer_rope_theta: the rotary base of each of n layers, 0 for none; `otherwise` where it is absent or null."""
        thetas = self.raw("layer_rope_theta")
        if thetas is None:
            return otherwise
        bases: list[Any] = thetas if isinstance(thetas, list) else []
        if len(bases) != n or any(type(base) not in (int, float) or base < 0 for base in bases):
            raise self.error("layer_rope_theta", f"expected {n} numbers, 0 for no rotary embedding", thetas)
        return bases

    def choice(self, key: str, *allowed: str) -> str:
        """One of the allowed words."""
        value = self._get(key)
        if not isinstance(value, str) or value not in allowed:
            raise self.error(key, f"expected one of {', '.join(allowed)}", value)
        return value

    def fixed(self, key: str, *understood: Any) -> None:
        """A key that published configs carry and moewright knows the meaning of for these values only."""
        self._used.add(key)
        if key in self._values and not any(_same(self._values[key], value) for value in understood):
            raise self.error(
                key, f"only {' or '.join(_shown(value) for value in understood)} is understood", self._values[key]
            )

    def integers(self, key: str) -> list[int]:
        """A list of non-negative integers; null means an empty one."""
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > LARGEST_LAYER_COUNT:
            raise self.error(key, "expected a list of integers", value)
        return [self._integer(f"{key}[{index}]", item, least=0) for index, item in enumerate(value)]

    def per_layer(self, key: str, num_layers: int, *allowed: str) -> list[str] | None:
        """One of the allowed words for every layer, or None where the key is absent or null."""
        value = self._get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.error(key, "expected a list with one entry per layer", value)
        if len(value) != num_layers:
            raise self.error(key, f"has {len(value)} entries for {num_layers} layers")
        for index, item in enumerate(value):
            if not isinstance(item, str) or item not in allowed:
                raise self.error(f"{key}[{index}]", f"expected one of {', '.join(allowed)}", item)
        return value

    def mapping(self, key: str) -> dict[str, Any] | None:
        """A mapping or null."""
        value = self._get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "expected a mapping", value)
        return value

    def raw(self, key: str) -> Any:
        """The value as it stands, for keys of several kinds; the caller checks it."""
        return self._get(key)

    def replace(self, key: str, value: Any) -> None:
        """Go on with another value, where a family writes one value in several ways."""
        self._values[key] = value

    def has(self, key: str) -> bool:
        """Whether the file states the key with a value other than null."""
        self._used.add(key)
        return self._values.get(key) is not None

    def states(self, key: str) -> bool:
        """Whether the file has the key, be it null."""
        self._used.add(key)
        return key in self._values

    def section(self, key: str, defaults: Mapping[str, Any], neutral: Iterable[str] = ()) -> "Config":
        """A nested mapping, read the same way; its findings are added to this one's when it is finished."""
        return Config(
            self.mapping(key) or {},
            family=self.family,
            defaults=defaults,
            aliases={},
            neutral=neutral,
            prefix=f"{self._prefix}{key}.",
        )

    # Readings that many families share

    def head_dim(self) -> int:
        """head_dim, or hidden_size / num_attention_heads where it is absent."""
        given = self.optional_size("head_dim")
        if given is not None:
            return given
        width, heads = self.size("hidden_size"), self.size("num_attention_heads")
        if heads > width:
            raise self.error("num_attention_heads", f"{heads} heads do not fit a hidden_size of {width}")
        if width % heads:
            self.warn(
                f"num_attention_heads ({heads}) does not divide hidden_size ({width}); head_dim is {width // heads}, "
                "rounded down as transformers does"
            )
        return width // heads

    def kv_heads(self, heads_key: str = "num_attention_heads", key: str = "num_key_value_heads") -> int:
        """num_key_value_heads, or the number of heads where it is null (and, in some families, where it is absent)."""
        heads = self.size(heads_key)
        kv_heads = self.optional_size(key) or heads
        if heads % kv_heads:
            raise self.error(key, f"{kv_heads} does not divide {self._prefix}{heads_key} ({heads})")
        return kv_heads

    def top_k(self, key: str, experts_key: str, extra_choices: int = 0) -> int:
        """Experts per token, at most as many as there are."""
        chosen, experts = self.size(key), self.size(experts_key)
        if chosen > experts + extra_choices:
            raise self.error(key, f"{chosen} is more than {self._prefix}{experts_key} ({experts})")
        return min(chosen, experts)

    def activation(self, key: str = "hidden_act") -> Activation:
        """The activation function by its Hugging Face name."""
        return _ACTIVATIONS[self.choice(key, *_ACTIVATIONS)]

    def rope(self, theta_default: float = 10_000.0, fraction: float = 1.0, layer_type: str | None = None) -> Rope:
        """Rotary embedding from rope_parameters (transformers 5) or rope_theta and rope_scaling (4).

        `layer_type` picks an entry where rope_parameters holds one per layer type.
        """
        stated: dict[str, Any] = dict(self._mapping_or_nothing("rope_scaling"))
        new_style = self._mapping_or_nothing("rope_parameters")
        if layer_type is not None and isinstance(new_style.get(layer_type), dict):
            new_style = new_style[layer_type]
        stated |= new_style
        theta = stated.pop("rope_theta", None)
        if theta is None:
            theta = self.raw("rope_theta") if self.has("rope_theta") else theta_default
        stated_fraction = stated.pop("partial_rotary_factor", None)
        if stated_fraction is None and self.has("partial_rotary_factor"):
            stated_fraction = self.raw("partial_rotary_factor")
        fraction = fraction if stated_fraction is None else stated_fraction
        for key, value in (("rope_theta", theta), ("partial_rotary_factor", fraction)):
            self.number_at(key, value)
        if fraction > 1:
            raise self.error("partial_rotary_factor", "expected at most 1", fraction)
        kind = stated.pop("rope_type", None) or stated.pop("type", None) or "default"
        stated.pop("type", None)
        scaling = None if kind == "default" and not stated else {"rope_type": kind, **stated}
        return Rope(theta=float(theta), fraction=float(fraction), scaling=scaling)

    # Findings

    def error(self, key: str, what: str, *given: Any) -> UserError:
        """A UserError that names a key and, if passed, what it holds."""
        shown = f", found {_shown(given[0])}" if given else ""
        written = self._written.get(key, key)
        return UserError(f"{self._prefix}{written}: {what}{shown}")

    def warn(self, message: str) -> None:
        """Add a warning, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def unread_experts(self) -> str | None:
        """A key that speaks of several experts and that nobody read: what is read as dense may be a mixture."""
        if any(re.search(_SPEAKS_OF_EXPERTS, key) for key in (*self._defaults, *self._neutral, *self._used)):
            return None  # a family that has them, where its other keys say so
        for key in sorted(self._unknown()):
            value = self._values[key]
            number = len(value) if isinstance(value, list) else value
            if re.search(_SPEAKS_OF_EXPERTS, key) and type(number) is int and number > 1:
                return key
        return None

    def _unknown(self) -> set[str]:
        return self._values.keys() - (self._used | self._neutral | set(self._defaults))

    def finish(self) -> list[str]:
        """All warnings, with the keys that nobody read and the defaults that were taken."""
        known = self._used | self._neutral | set(self._defaults)
        unknown = [key for key in sorted(self._unknown()) if not key.startswith("_")]
        if len(unknown) > MOST_UNKNOWN:
            self.warn(f"{len(unknown) - MOST_UNKNOWN:,} more unknown keys were not used")
        for key in unknown[:MOST_UNKNOWN]:
            near = near_name(key, sorted(known), MISSPELT)
            meant = f"; did you mean {near}?" if near else ""
            shown = shortened(self._written[key], _LONGEST_KEY)
            self.warn(f"unknown key {self._prefix}{shown} was not used{meant}")
        if self._assumed:
            taken = ", ".join(f"{self._prefix}{key} = {_shown(value)}" for key, value in sorted(self._assumed.items()))
            self.warn(f"absent from the config, {self.family}'s default taken: {taken}")
        return self.warnings

    def _get(self, key: str) -> Any:
        self._used.add(key)
        if key in self._values:
            return self._values[key]
        if key not in self._defaults:
            near = near_name(key, sorted(self._values.keys() - self._used)[:_MOST_KEYS], MISSPELT)
            slip = f"; is {near} a typing error?" if near else ""
            raise UserError(f"{self._prefix}{key}: missing, and {self.family} has no size without it{slip}")
        value = self._defaults[key]
        # An absent key whose default is null, false or an empty list is the ordinary way to write a config.
        if value not in (None, False, []):
            self._assumed[key] = value
        return value

    def _mapping_or_nothing(self, key: str) -> dict[str, Any]:
        self._used.add(key)
        value = self._values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(key, "expected a mapping", value)
        return value

    def _integer(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_SIZE:
            kind = "a positive integer" if least else "a non-negative integer"
            limit = f" of at most {LARGEST_SIZE:,}" if isinstance(value, int) and value > LARGEST_SIZE else ""
            raise self.error(key, f"expected {kind}{limit}", value)
        return value


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else brief(value)
