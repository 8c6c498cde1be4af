"""Keys of quantisers' settings that say nothing about bytes, and quantisers whose files are not understood.

Every other key that a reader does not look at makes the bytes unknown. Sources: the quantisation configs of
transformers 5.24 (utils/quantization_config.py) and what the tools themselves write: compressed-tensors 0.20, modelopt
0.47, auto-round 0.16, GPTQModel (gptqmodel/quantization/config.py), AutoAWQ 0.2, quark 0.13, torchao 0.18, hqq 0.2.8.
`*` stands for names that publishers choose.
"""

from collections.abc import Mapping


def _keys(text: str, *places: str) -> frozenset[str]:
    """The words of a text, each under each of the places."""
    return frozenset(place + key for place in places or ("",) for key in text.split())


# How weights are held and computed with once they are loaded, and what is quantised at run time only.
_LOADING = _keys("quant_method dequantize run_compressed use_optimized_inference backend activation_scale_ub")
# Which tool wrote the files, on what data and how it searched.
_SEARCH = _keys(
    """
    producer provider version tokenizer dataset damp_percent damp_auto_increment desc_act act_group_aware sym
    true_sequential static_groups mse meta model_seqlen block_name_to_quantize module_name_preceding_first_block
    batch_size pad_token_id max_input_length cache_block_outputs model_name_or_path model_file_base_name hyb_act
    autoround_version enable_quanted_input amp enable_minmax_tuning iters low_gpu_mem_usage nsamples seqlen lr minmax_lr
    gradient_accumulate_steps
    """
)
# The cache of keys and values: where it has scales in the files, these are a number or two a layer.
_CACHE = _keys(
    "kv_cache_scheme kv_cache_quant_algo kv_cache_quant_config kv_cache_group kv_cache_post_rope min_kv_scale"
)
_KERNELS = _keys(
    "use_exllama disable_exllama exllama_config use_cuda_fp16 do_fuse fuse_max_seq_len modules_to_fuse max_input_len"
)
# modelopt says everything twice; the rest of its groups is checked against the algorithm.
_MODELOPT = _keys("producer") | _keys(
    "input_activations output_activations targets weights.dynamic weights.type weights.strategy",
    "config_groups.*.",
)
_ALL = _LOADING | _CACHE

NEUTRAL: Mapping[str, frozenset[str]] = {
    "fp8": _ALL | _SEARCH | _MODELOPT | _keys("data_type"),
    "mxfp8": _ALL,
    "fbgemm_fp8": _ALL,
    "mxfp4": _ALL,
    "modelopt": _ALL | _MODELOPT,
    "compressed-tensors": _ALL
    | _keys("version global_compression_ratio config_groups.*.output_activations")
    | _keys("dynamic observer observer_kwargs", "config_groups.*.weights.")
    | _keys(
        """
        actorder block_structure group_size num_bits observer observer_kwargs scale_dtype strategy symmetric type
        zp_dtype
        """,
        "config_groups.*.input_activations.",
    ),
    "awq": _ALL | _SEARCH | _KERNELS,
    "gptq": _ALL | _SEARCH | _KERNELS | _keys("desc_act sym mse damp_percent", "dynamic.*."),
    "auto-round": _ALL | _SEARCH | _keys("sym", "extra_config.*."),
    "bitsandbytes": _ALL
    # of the other number of bits; bytes are the same in whatever words they are held
    | _keys("bnb_4bit_compute_dtype bnb_4bit_quant_storage bnb_4bit_quant_type bnb_4bit_use_double_quant")
    | _keys("load_in_4bit _load_in_4bit llm_int8_enable_fp32_cpu_offload llm_int8_threshold"),
    "mlx": _keys("quant_method"),
    "hqq": _ALL
    | _keys("offload_meta", "quant_config.")
    | _keys("axis optimize round_zero view_as_float", "quant_config.weight_quant_params."),
    "torchao": _ALL
    | _keys(
        """
        set_inductor_config activation_dtype activation_value_lb activation_value_ub mm_config kernel_preference
        weight_dtype act_mapping_type weight_only_decode
        """,
        *("quant_type.default._data.", "quant_type_kwargs."),
    ),
    "quark": _ALL
    | _keys("algo_config quant_mode activation_scheme version")
    | _keys("kv_cache_group min_kv_scale pack_method weight_merge_groups", "export.")
    | _keys(
        """
        target_device output_tensors input_tensors weight.ch_axis weight.is_dynamic weight.observer_cls
        weight.round_method weight.scale_calculation_mode weight.scale_type weight.symmetric weight.zero_point_type
        weight.enable_buffer_reuse weight.max_input_numel
        """,
        *("global_quant_config.", "layer_quant_config.*."),
    ),
}
"""Reader -> keys."""

NOT_READ: Mapping[str, str] = {
    "aqlm": "codebooks, whose number and size each model chooses",
    "vptq": "codebooks of their own for every matrix",
    "spqr": "outliers, whose number only the files know",
    "higgs": "matrices are padded to the size of a rotation and grids differ by kernel",
    "quanto": "optimum-quanto keeps its own files, and transformers saves none",
    "eetq": "matrices are laid out for one kernel, and experts are left or split by version",
    "gguf": "a config names a file of which the types are in its header",
    "bitnet": "ternary weights are published packed and as bf16 under the same settings",
    "fp_quant": "a rotation and master weights may be kept beside the weights",
    "nvfp4": "weights are quantised while loading, from files that hold them in another format",
    "metal": "its scales are in fp32 or in the model's dtype by who wrote them",
    "fouroversix": "master weights may be kept, and padding depends on the kernel",
    "sinq": "scales along both sides, in shapes that depend on the tiling",
    "gemma": "bits by module, with scales of activations beside them",
}
"""quant_method -> why the bytes of its files are not told from a config."""
