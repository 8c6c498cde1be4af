"""Dense decoders whose feed-forwards have two matrices: Apertus, Arcee, Nemotron 4 and Minitron, StarCoder 2, Phi 1 and
2, Jais 2."""

from moewright.architecture.feed_forwards import Dense
from moewright.architecture.mixers import Window
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer, Norm, NormPlaces
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, QKNorm, attention, build, without


def _build(
    c: Config,
    *,
    bias: bool,
    feed_forward_bias: bool,
    norm: Norm | None = None,
    qk_norm: QKNorm = None,
    norms: NormPlaces = "pre",
    window: Window | None = None,
    fraction: float = 1.0,
    lm_head_bias: bool = False,
) -> Architecture:
    """Equal layers of attention and a feed-forward without a gate."""
    mixer = attention(
        c, qkv_bias=bias, output_bias=bias, qk_norm=qk_norm, window=window, rope=c.rope(fraction=fraction)
    )
    activation, n = c.activation(), c.num_layers()
    feed_forward = Dense(size=c.size("intermediate_size"), gated=False, bias=feed_forward_bias, activation=activation)
    learned = OwnWeight(name="activation", component="dense_ffn", outputs=2)
    layer = Layer(
        mixer=mixer, feed_forward=feed_forward, norms=norms, own_weights=(learned,) if activation == "xielu" else ()
    )
    return build(c, [layer] * n, norm=norm, lm_head_bias=lm_head_bias)


def _layer_norm(c: Config, key: str) -> Norm:
    return Norm(kind="layer", bias=True, eps=c.number(key))


def _read_apertus(c: Config) -> Architecture:
    c.fixed("mlp_bias", False)
    c.fixed("qk_norm", True)
    c.fixed("post_norm", False)
    return _build(c, bias=c.flag("attention_bias"), feed_forward_bias=False, qk_norm="per_head")


def _read_arcee(c: Config) -> Architecture:
    return _build(c, bias=c.flag("attention_bias"), feed_forward_bias=c.flag("mlp_bias"))


def _read_nemotron(c: Config) -> Architecture:
    norm = _layer_norm(c, "norm_eps")
    bias = c.flag("attention_bias")
    return _build(c, bias=bias, feed_forward_bias=c.flag("mlp_bias"), norm=norm, fraction=0.5)


def _read_starcoder2(c: Config) -> Architecture:
    size, bias = c.optional_size("sliding_window"), c.flag("use_bias")
    norm = _layer_norm(c, "norm_epsilon")
    window = Window(size=size) if size else None
    return _build(c, bias=bias, feed_forward_bias=bias, norm=norm, window=window)


def _read_phi(c: Config) -> Architecture:
    c.fixed("qk_layernorm", False)
    norm = _layer_norm(c, "layer_norm_eps")
    return _build(c, bias=True, feed_forward_bias=True, norm=norm, norms="parallel", fraction=0.5, lm_head_bias=True)


def _read_jais2(c: Config) -> Architecture:
    norm = _layer_norm(c, "layer_norm_eps")
    return _build(c, bias=c.flag("attention_bias"), feed_forward_bias=c.flag("mlp_bias"), norm=norm)


_MHA = {**COMMON_DEFAULTS, "num_key_value_heads": None}
FAMILIES = {
    "apertus": Family(
        model_type="apertus",
        class_name="ApertusForCausalLM",
        read=_read_apertus,
        defaults={**_MHA, "hidden_act": "xielu", "rms_norm_eps": 1e-5},
    ),
    "arcee": Family(
        model_type="arcee",
        class_name="ArceeForCausalLM",
        read=_read_arcee,
        defaults={**_MHA, "hidden_act": "relu2", "rms_norm_eps": 1e-5, "mlp_bias": False},
    ),
    "nemotron": Family(
        model_type="nemotron",
        class_name="NemotronForCausalLM",
        read=_read_nemotron,
        defaults={**_MHA, "hidden_act": "relu2", "norm_eps": 1e-5, "mlp_bias": False},
        neutral=("rms_norm_eps", "layer_norm_eps"),
    ),
    "starcoder2": Family(
        model_type="starcoder2",
        class_name="Starcoder2ForCausalLM",
        read=_read_starcoder2,
        defaults={
            **COMMON_DEFAULTS,
            "hidden_act": "gelu_pytorch_tanh",
            "norm_epsilon": 1e-5,
            "use_bias": True,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
        neutral=("residual_dropout", "embedding_dropout", "mlp_type", "norm_type", "activation_function"),
    ),
    "phi": Family(
        model_type="phi",
        class_name="PhiForCausalLM",
        read=_read_phi,
        defaults={**without(_MHA, "attention_bias"), "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
        neutral=("rms_norm_eps",),
    ),
    "jais2": Family(
        model_type="jais2",
        class_name="Jais2ForCausalLM",
        read=_read_jais2,
        defaults={**_MHA, "hidden_act": "relu2", "layer_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True},
        neutral=("rms_norm_eps",),
    ),
}
