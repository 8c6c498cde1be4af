"""One module per line of models; each holds `FAMILIES`, from model_type to Family. Loaded only when asked for."""

FILES: dict[str, tuple[str, ...]] = {
    "mixtral": ("mixtral", "phimoe"),
    "minimax": ("minimax", "minimax_m2", "minimax_m3", "minimax_m3_vl_text"),
    "qwen": (
        "qwen2_moe",
        "qwen3_moe",
        "qwen3_vl_moe_text",
        "qwen3_omni_moe_text",
        "qwen3_next",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "mellum",
        "lara_mini",
        "flint",
    ),
    "olmo": ("olmoe", "flex_olmo"),
    "deepseek": (
        "deepseek_v2",
        "deepseek_ocr2_text",
        "unlimited_ocr_text",
        "deepseek_v3",
        "kimi_k2",
        "deepseek_v32",
        "mistral4",
        "sarvam_mla",
        "axk1",
    ),
    "deepseek_v4": ("deepseek_v4",),
    "glm": ("glm4_moe", "glm4v_moe_text", "glm4_moe_lite", "glm_moe_dsa", "sarvam_moe", "solar_open"),
    "gpt_oss": ("gpt_oss",),
    "aria": ("aria_text",),
    "llama4": ("llama4_text",),
    "ernie": ("ernie4_5_moe",),
    "granite": ("granitemoe", "granitemoeshared", "granitemoehybrid", "granitemoe_swa", "bamba"),
    "jetmoe": ("jetmoe",),
    "jamba": ("jamba",),
    "longcat": ("longcat_flash",),
    "kimi_linear": ("bailing_hybrid", "kimi_linear"),
    "afmoe": ("afmoe",),
    "exaone": ("exaone_moe",),
    "cohere": ("cohere2_moe",),
    "dots": ("dots1", "dots3_note", "dots3_note_text"),
    "hunyuan": ("hunyuan_v1_moe", "hy_v3", "hy_v4", "hy_v4_vl_text"),
    "mimo": ("mimo_v2_flash",),
    "gemma": ("gemma2", "gemma3_text", "gemma4_text"),
    "kolibri": ("kolibri1",),
    "step": ("step3p5",),
    "lfm2": ("lfm2_moe",),
    "dbrx": ("dbrx",),
    "laguna": ("laguna",),
    "nemotron": ("nemotron_h",),
    "plain": (
        "llama",
        "mistral",
        "ministral3",
        "qwen2",
        "qwen3",
        "qwen3_vl_text",
        "granite",
        "seed_oss",
        "phi3",
        "olmo2",
        "olmo3",
        "glm",
        "glm4",
        "smollm3",
    ),
}
"""The model_types that each file describes. A new family is a file and its line here."""

MODULES: dict[str, str] = {model_type: name for name, model_types in FILES.items() for model_type in model_types}
"""Where each model_type is described."""

OTHER_NAMES: dict[str, str] = {"hunyuan": "hunyuan_v1_moe", "deepseek_ref": "deepseek_v4"}
"""Names that publishers' own files give to a family."""

WRAPPERS: dict[str, str] = {
    "llama4": "llama4_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_vl": "qwen3_vl_text",
    "mistral3": "mistral",
    "dots3_note": "dots3_note_text",
    "kimi_k25": "kimi_k2",
    "glm4v_moe": "glm4v_moe_text",
    "step3p7": "step3p5",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "hy_v4_vl": "hy_v4_vl_text",
    "qwen3_omni_moe_thinker": "qwen3_omni_moe_text",
    "aria": "aria_text",
    "deepseek_vl_v2": "deepseek_v2",
    "deepseek_ocr2": "deepseek_ocr2_text",
    "unlimited_ocr": "unlimited_ocr_text",
}
"""Multimodal model_types and the family of the language model in their text_config, where it does not name one."""

EXPORT_ORDER: tuple[str, ...] = ("qwen3_moe", "olmoe", "mixtral", "qwen2_moe", "dots1", "glm4_moe", "deepseek_v3")
"""Families that moewright writes, in the order in which they are tried."""
