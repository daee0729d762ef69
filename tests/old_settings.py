"""What each version of PEFT, from 0.3 to 0.21, began to write into adapter_config.json, by kind, with the defaults."""

from collections.abc import Mapping
from typing import Any

Added = Mapping[str, Mapping[str, Any]]
VERSIONS = [f"0.{number}" for number in range(3, 22)]
EVERY: Added = {
    "0.3": {"base_model_name_or_path": None, "peft_type": None, "task_type": None, "inference_mode": False},
    "0.4": {"auto_mapping": None, "revision": None},
    "0.18": {"peft_version": None},
}
_LAYERS = {"layers_to_transform": None, "layers_pattern": None}
_TARGETS = {"target_modules": None, "modules_to_save": None}
_LYCORIS = {
    **_LAYERS,
    **_TARGETS,
    "rank_pattern": {},
    "alpha_pattern": {},
    "r": 8,
    "module_dropout": 0.0,
    "init_weights": True,
}
_LORA: Added = {
    "0.3": {
        **_TARGETS,
        "r": 8,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "bias": "none",
        "init_lora_weights": True,
    },
    "0.4": _LAYERS,
    "0.6": {"alpha_pattern": {}, "rank_pattern": {}},
    "0.7": {"megatron_config": None, "megatron_core": "megatron.core", "loftq_config": {}},
    "0.8": {"use_rslora": False},
    "0.9": {"use_dora": False},
    "0.10": {"layer_replication": None},
    "0.14": {"exclude_modules": None, "eva_config": None, "lora_bias": False},
    "0.15": {"trainable_token_indices": None, "corda_config": None},
    "0.16": {"use_qalora": False, "qalora_group_size": 16},
    "0.17": {"target_parameters": None},
    "0.18": {"alora_invocation_tokens": None, "arrow_config": None, "ensure_weight_tying": False},
    "0.19": {"lora_ga_config": None, "use_bdlora": None},
    "0.20": {"velora_config": None, "monteclora_config": None},
    "0.21": {"kasa_config": None},
}
_PRUNING = {
    "target_r": 8,
    "init_r": 12,
    "tinit": 0,
    "tfinal": 0,
    "deltaT": 1,
    "beta1": 0.85,
    "beta2": 0.85,
    "orth_reg_weight": 0.5,
    "total_step": None,
    "rank_pattern": None,
}
_SIZES = {
    "num_virtual_tokens": None,
    "token_dim": None,
    "num_transformer_submodules": None,
    "num_attention_heads": None,
    "num_layers": None,
}
_START = {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None}
ADDED: Mapping[str, Added] = {
    "LORA": _LORA,
    "ADALORA": {**_LORA, "0.3": {**_LORA["0.3"], **_PRUNING}},
    "ADAPTION_PROMPT": {"0.3": {"target_modules": None, "adapter_len": None, "adapter_layers": None}},
    "BOFT": {
        "0.11": {
            **_LAYERS,
            **_TARGETS,
            "boft_block_size": 4,
            "boft_block_num": 0,
            "boft_n_butterfly_factor": 1,
            "boft_dropout": 0.0,
            "fan_in_fan_out": False,
            "bias": "none",
            "init_weights": True,
        },
        "0.14": {"exclude_modules": None},
    },
    "BONE": {
        "0.14": {**_LAYERS, **_TARGETS, "r": 64, "exclude_modules": None, "init_weights": True, "bias": "none"},
    },
    "C3A": {
        "0.16": {
            **_LAYERS,
            **_TARGETS,
            "block_size": 256,
            "bias": "none",
            "block_size_pattern": {},
            "init_weights": "xavier_uniform",
        },
    },
    "DELORA": {
        "0.18": {
            **_LAYERS,
            **_TARGETS,
            "r": 8,
            "delora_lambda": 15,
            "module_dropout": 0.0,
            "exclude_modules": None,
            "bias": "none",
            "init_weights": True,
            "rank_pattern": {},
            "lambda_pattern": {},
        },
    },
    "FOURIERFT": {
        "0.12": {
            **_LAYERS,
            **_TARGETS,
            "n_frequency": 1000,
            "scaling": 150.0,
            "random_loc_seed": 777,
            "fan_in_fan_out": False,
            "bias": "none",
            "n_frequency_pattern": {},
            "init_weights": False,
        },
        "0.14": {"exclude_modules": None},
    },
    "GRALORA": {
        "0.19": {
            **_LAYERS,
            **_TARGETS,
            "r": 32,
            "hybrid_r": 0,
            "alpha": 64,
            "gralora_dropout": 0.0,
            "gralora_k": 2,
            "fan_in_fan_out": False,
            "bias": "none",
            "init_weights": True,
        },
    },
    "HRA": {
        "0.12": {**_LAYERS, **_TARGETS, "r": 8, "apply_GS": False, "init_weights": True, "bias": "none"},
        "0.14": {"exclude_modules": None},
    },
    "IA3": {
        "0.4": {**_TARGETS, "feedforward_modules": None, "fan_in_fan_out": False, "init_ia3_weights": True},
        "0.14": {"exclude_modules": None},
    },
    "LN_TUNING": {"0.11": _TARGETS, "0.14": {"exclude_modules": None}},
    "LOHA": {
        "0.6": {**_LYCORIS, "alpha": 8, "rank_dropout": 0.0, "use_effective_conv2d": False},
        "0.14": {"exclude_modules": None},
    },
    "LOKR": {
        "0.6": {
            **_LYCORIS,
            "alpha": 8,
            "rank_dropout": 0.0,
            "use_effective_conv2d": False,
            "decompose_both": False,
            "decompose_factor": -1,
        },
        "0.14": {"rank_dropout_scale": False, "exclude_modules": None},
    },
    "MISS": {
        "0.17": {
            **_LAYERS,
            **_TARGETS,
            "r": 64,
            "miss_dropout": 0.0,
            "mini_r": 1,
            "exclude_modules": None,
            "init_weights": True,
            "bias": "none",
        },
    },
    "MULTITASK_PROMPT_TUNING": {
        "0.6": {
            **_SIZES,
            **_START,
            "prompt_tuning_init_state_dict_path": None,
            "prompt_tuning_init_task": 0,
            "num_ranks": 1,
            "num_tasks": 1,
        },
        "0.7": {"tokenizer_kwargs": None},
        "0.17": {"modules_to_save": None},
    },
    # Files of earlier versions hold other tensors.
    "OFT": {
        "0.16": {
            **_LAYERS,
            **_TARGETS,
            "r": 0,
            "oft_block_size": 32,
            "module_dropout": 0.0,
            "fan_in_fan_out": False,
            "bias": "none",
            "exclude_modules": None,
            "init_weights": True,
            "coft": False,
            "eps": 6e-05,
            "block_share": False,
            "use_cayley_neumann": True,
            "num_cayley_neumann_terms": 5,
        },
    },
    "P_TUNING": {
        "0.3": {
            **_SIZES,
            "encoder_reparameterization_type": "MLP",
            "encoder_hidden_size": None,
            "encoder_num_layers": 2,
            "encoder_dropout": 0.0,
        },
        "0.17": {"modules_to_save": None},
    },
    "PREFIX_TUNING": {
        "0.3": {**_SIZES, "encoder_hidden_size": None, "prefix_projection": False},
        "0.17": {"modules_to_save": None},
        "0.19": {"init_weights": None},
    },
    "PROMPT_TUNING": {
        "0.3": {**_SIZES, **_START},
        "0.7": {"tokenizer_kwargs": None},
        "0.17": {"modules_to_save": None},
    },
    "RANDLORA": {
        "0.16": {
            **_LAYERS,
            **_TARGETS,
            "r": 32,
            "projection_prng_key": 0,
            "save_projection": True,
            "sparse": False,
            "very_sparse": False,
            "randlora_dropout": 0.0,
            "fan_in_fan_out": False,
            "randlora_alpha": 640,
            "bias": "none",
            "init_weights": True,
        },
    },
    "ROAD": {"0.18": {**_TARGETS, "variant": "road_1", "group_size": 64, "init_weights": True}},
    "SHIRA": {
        "0.17": {
            **_TARGETS,
            "r": 32,
            "mask_type": "random",
            "random_seed": None,
            "fan_in_fan_out": False,
            "init_weights": True,
        },
    },
    "TRAINABLE_TOKENS": {"0.15": {"token_indices": [], "target_modules": None, "init_weights": True}},
    "VBLORA": {
        "0.13": {
            **_LAYERS,
            **_TARGETS,
            "r": 4,
            "num_vectors": 256,
            "vector_length": 256,
            "topk": 2,
            "save_only_topk_weights": False,
            "vblora_dropout": 0.0,
            "fan_in_fan_out": False,
            "bias": "none",
            "init_vector_bank_bound": 0.02,
            "init_logits_std": 0.1,
        },
        "0.14": {"exclude_modules": None},
    },
    "VERA": {
        "0.11": {
            **_LAYERS,
            **_TARGETS,
            "r": 256,
            "projection_prng_key": 0,
            "save_projection": True,
            "vera_dropout": 0.0,
            "d_initial": 0.1,
            "fan_in_fan_out": False,
            "bias": "none",
            "init_weights": True,
        },
    },
}


def keys_of(kind: str, version: str) -> dict[str, Any]:
    """The keys that a version wrote for a kind, with their defaults; none where it did not know the kind."""
    until = VERSIONS[: VERSIONS.index(version) + 1]
    if not any(one in ADDED[kind] for one in until):
        return {}
    return {key: value for table in (EVERY, ADDED[kind]) for one in until for key, value in table.get(one, {}).items()}


def versions_of(kind: str) -> list[str]:
    """The versions whose files differ from those of the version before."""
    known = [version for version in VERSIONS if keys_of(kind, version)]
    return [v for n, v in enumerate(known) if n == 0 or keys_of(kind, v) != keys_of(kind, known[n - 1])]
