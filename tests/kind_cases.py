"""Adapters of every kind, to be compared with what PEFT makes of them."""

from typing import NamedTuple

import peft

from modeconn.adapters.methods import LorettaRepConfig, WeGeFTConfig

LLAMA = ["q_proj", "v_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj"]
BERT = ["query", "intermediate.dense"]
ADALORA = {"init_r": 4, "lora_alpha": 5, "total_step": 10}
BANK = {"num_vectors": 6, "vector_length": 8, "r": 2, "init_vector_bank_bound": 0.5}
TOP = {**BANK, "topk": 3, "save_only_topk_weights": True}


class Case(NamedTuple):
    """An adapter of a kind."""

    family: str
    config: type
    settings: dict
    std: float = 0.3


CASES = {
    "adalora": Case("llama", peft.AdaLoraConfig, {"target_modules": LLAMA, **ADALORA}, 0.6),
    "adalora-gpt2": Case("gpt2", peft.AdaLoraConfig, {"target_modules": GPT2, **ADALORA}),
    "adalora-biases": Case("gpt2", peft.AdaLoraConfig, {"target_modules": GPT2, "bias": "lora_only", **ADALORA}),
    "boft": Case("llama", peft.BOFTConfig, {"target_modules": LLAMA}),
    "boft-bert": Case("bert", peft.BOFTConfig, {"target_modules": BERT, "boft_block_size": 0, "boft_block_num": 2}),
    "boft-biases": Case("bert", peft.BOFTConfig, {"target_modules": BERT, "bias": "all"}),
    "fourier": Case(
        "llama",
        peft.FourierFTConfig,
        {"target_modules": LLAMA, "n_frequency": 20, "n_frequency_pattern": {"v_proj": 7}},
    ),
    "fourier-gpt2": Case(
        "gpt2", peft.FourierFTConfig, {"target_modules": GPT2, "n_frequency": 9, "random_loc_seed": 3, "scaling": 99.0}
    ),
    "fourier-biases": Case("gpt2", peft.FourierFTConfig, {"target_modules": GPT2, "n_frequency": 9, "bias": "all"}),
    "ia3": Case("llama", peft.IA3Config, {"target_modules": LLAMA, "feedforward_modules": ["down_proj"]}),
    "ia3-gpt2": Case("gpt2", peft.IA3Config, {"target_modules": GPT2, "feedforward_modules": r".*mlp\.c_proj"}),
    "ia3-bert": Case("bert", peft.IA3Config, {"target_modules": BERT, "feedforward_modules": []}),
    "ln": Case("llama", peft.LNTuningConfig, {"target_modules": ["input_layernorm", "norm"]}),
    "ln-gpt2": Case("gpt2", peft.LNTuningConfig, {"target_modules": ["ln_1", "ln_f"]}),
    "loha": Case(
        "llama", peft.LoHaConfig, {"target_modules": LLAMA, "r": 3, "alpha": 7, "rank_pattern": {"v_proj": 2}}
    ),
    "loha-bert": Case("bert", peft.LoHaConfig, {"target_modules": BERT, "r": 2, "alpha_pattern": {"query": 3}}),
    "lokr": Case("llama", peft.LoKrConfig, {"target_modules": LLAMA, "r": 3, "alpha": 7}),
    "lokr-pairs": Case(
        "llama",
        peft.LoKrConfig,
        {"target_modules": LLAMA, "r": 1, "alpha": 3, "decompose_both": True, "decompose_factor": 4},
    ),
    "loretta": Case("llama", LorettaRepConfig, {"target_modules": LLAMA, "r": 4, "alpha": 5, "tensor_rank": 3}, 0.5),
    "loretta-gpt2": Case("gpt2", LorettaRepConfig, {"target_modules": GPT2, "r": 3, "alpha": 5, "start": "published"}),
    "oft": Case("llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4}),
    "oft-exact": Case(
        "bert", peft.OFTConfig, {"target_modules": BERT, "oft_block_size": 0, "r": 2, "use_cayley_neumann": False}
    ),
    "oft-shared": Case(
        "llama",
        peft.OFTConfig,
        {"target_modules": LLAMA, "oft_block_size": 4, "block_share": True, "num_cayley_neumann_terms": 3},
    ),
    "oft-biases": Case("llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4, "bias": "oft_only"}),
    "oft-bounded": Case(
        "llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4, "coft": True, "eps": 0.7}
    ),
    "oft-table": Case("llama", peft.OFTConfig, {"target_modules": ["embed_tokens", "q_proj"], "oft_block_size": 4}),
    "vera": Case("llama", peft.VeraConfig, {"target_modules": LLAMA, "r": 4}),
    "vera-biases": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4, "bias": "vera_only"}),
    "vera-gpt2": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4}),
    "vera-drawn": Case(
        "llama",
        peft.VeraConfig,
        {"target_modules": LLAMA, "r": 4, "save_projection": False, "projection_prng_key": 5},
    ),
    "vera-drawn-gpt2": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4, "save_projection": False}),
    "wegeft": Case("llama", WeGeFTConfig, {"target_modules": LLAMA, "r": 3, "alpha": 5}),
    "wegeft-untied": Case("bert", WeGeFTConfig, {"target_modules": BERT, "r": 3, "alpha": 5, "tied": False}),
    "wegeft-output": Case("gpt2", WeGeFTConfig, {"target_modules": GPT2, "r": 3, "alpha": 5, "form": "output"}),
    "delora": Case("llama", peft.DeloraConfig, {"target_modules": LLAMA, "r": 3, "rank_pattern": {"v_proj": 2}}),
    "delora-biases": Case("bert", peft.DeloraConfig, {"target_modules": BERT, "r": 2, "bias": "all"}),
    "gralora": Case("llama", peft.GraloraConfig, {"target_modules": LLAMA, "r": 4, "alpha": 5}),
    "gralora-hybrid": Case(
        "gpt2", peft.GraloraConfig, {"target_modules": GPT2, "r": 8, "gralora_k": 4, "hybrid_r": 3, "alpha": 7}, 0.05
    ),
    "hra": Case("llama", peft.HRAConfig, {"target_modules": LLAMA, "r": 4}),
    "hra-odd": Case("bert", peft.HRAConfig, {"target_modules": BERT, "r": 3, "bias": "hra_only"}),
    "hra-orthogonal": Case("llama", peft.HRAConfig, {"target_modules": LLAMA, "r": 4, "apply_GS": True}),
    "miss": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 4}),
    "miss-cut": Case("bert", peft.MissConfig, {"target_modules": BERT, "r": 5}),
    "miss-bat": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 4, "init_weights": "bat"}),
    "miss-mini": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 3, "mini_r": 4, "init_weights": "mini"}),
    "randlora": Case("llama", peft.RandLoraConfig, {"target_modules": LLAMA, "r": 5, "randlora_alpha": 12}, 0.05),
    "randlora-gpt2": Case("gpt2", peft.RandLoraConfig, {"target_modules": GPT2, "r": 4, "bias": "randlora_only"}, 0.02),
    "randlora-drawn": Case(
        "llama",
        peft.RandLoraConfig,
        {"target_modules": LLAMA, "r": 4, "save_projection": False, "projection_prng_key": 3},
        0.02,
    ),
    "randlora-sparse": Case(
        "gpt2", peft.RandLoraConfig, {"target_modules": GPT2, "r": 4, "save_projection": False, "sparse": True}, 0.02
    ),
    "randlora-very-sparse": Case(
        "llama",
        peft.RandLoraConfig,
        {"target_modules": LLAMA, "r": 6, "save_projection": False, "very_sparse": True},
        0.02,
    ),
    "road": Case("llama", peft.RoadConfig, {"target_modules": LLAMA, "group_size": 4}),
    "road-2": Case("bert", peft.RoadConfig, {"target_modules": BERT, "group_size": 8, "variant": "road_2"}),
    "road-4": Case("bert", peft.RoadConfig, {"target_modules": BERT, "group_size": 4, "variant": "road_4"}),
    "shira": Case("llama", peft.ShiraConfig, {"target_modules": LLAMA, "r": 2, "random_seed": 5}),
    "tokens": Case("llama", peft.TrainableTokensConfig, {"token_indices": [4, 5, 9]}, 1.0),
    "tokens-tied": Case(
        "gpt2", peft.TrainableTokensConfig, {"token_indices": [4, 5, 9], "target_modules": ["wte"]}, 1.0
    ),
    "vblora": Case("llama", peft.VBLoRAConfig, {"target_modules": LLAMA, **BANK}, 0.5),
    "vblora-gpt2": Case("gpt2", peft.VBLoRAConfig, {"target_modules": GPT2, **BANK, "bias": "all"}, 0.5),
    "vblora-top": Case("llama", peft.VBLoRAConfig, {"target_modules": LLAMA, **TOP}, 0.5),
}
ONE_OF_EACH = [
    "adalora",
    "boft-biases",
    "fourier",
    "ia3-bert",
    "ln",
    "loha-bert",
    "lokr-pairs",
    "loretta",
    "oft-table",
    "vera-drawn-gpt2",
    "wegeft",
    "delora-biases",
    "gralora-hybrid",
    "hra-odd",
    "miss-bat",
    "miss-mini",
    "randlora-drawn",
    "road-4",
    "shira",
    "tokens",
    "vblora-top",
]
