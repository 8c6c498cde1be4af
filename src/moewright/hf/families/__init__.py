"""One module per line of models; each holds `FAMILIES`, from model_type to Family. Loaded only when asked for."""

MODULES: dict[str, str] = {
    "mixtral": "mixtral",
    "phimoe": "mixtral",
    "minimax": "minimax",
    "minimax_m2": "minimax",
    "qwen2_moe": "qwen",
    "qwen3_moe": "qwen",
    "qwen3_vl_moe_text": "qwen",
    "qwen3_next": "qwen",
    "qwen3_5_moe_text": "qwen",
    "olmoe": "olmo",
    "flex_olmo": "olmo",
    "deepseek_v2": "deepseek",
    "deepseek_v3": "deepseek",
    "kimi_k2": "deepseek",
    "deepseek_v32": "deepseek",
    "deepseek_v4": "deepseek_v4",
    "glm4_moe": "glm",
    "glm4v_moe_text": "glm",
    "glm4_moe_lite": "glm",
    "glm_moe_dsa": "glm",
    "gpt_oss": "gpt_oss",
    "llama4_text": "llama4",
    "ernie4_5_moe": "ernie",
    "granitemoe": "granite",
    "granitemoeshared": "granite",
    "granitemoehybrid": "granite",
    "granitemoe_swa": "granite",
    "jetmoe": "jetmoe",
    "jamba": "jamba",
    "longcat_flash": "longcat",
    "bailing_hybrid": "kimi_linear",
    "kimi_linear": "kimi_linear",
    "afmoe": "afmoe",
    "exaone_moe": "exaone",
    "cohere2_moe": "cohere",
    "dots1": "dots",
    "dots3_note": "dots",
    "dots3_note_text": "dots",
    "hunyuan_v1_moe": "hunyuan",
    "lfm2_moe": "lfm2",
    "dbrx": "dbrx",
}
"""Where each model_type is described."""

WRAPPERS: dict[str, str] = {
    "llama4": "llama4_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "dots3_note": "dots3_note_text",
    "kimi_k25": "kimi_k2",
    "glm4v_moe": "glm4v_moe_text",
}
"""Multimodal model_types and the family of the language model in their text_config, where it does not name one."""

EXPORT_ORDER: tuple[str, ...] = ("qwen3_moe", "olmoe", "mixtral", "qwen2_moe", "dots1", "glm4_moe", "deepseek_v3")
"""Families that moewright writes, in the order in which they are tried."""
