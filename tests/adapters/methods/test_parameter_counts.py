"""The trainable parameters of the published sizes, on the meta device: nothing of that size is allocated."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from modeconn.adapters.methods import LorettaAdpConfig, LorettaRepConfig, WeGeFTConfig

# Layers and width -> trainable parameters with queries and values adapted; adp after two or three modules of a layer.
COUNTS = {
    "LoRA r 8": {(12, 768): 294_912, (24, 1024): 786_432, (32, 4096): 4_194_304},
    "LoRETTA rep r 8": {(12, 768): 27_840, (24, 1024): 61_440, (32, 4096): 102_400},
    "LoRETTA adp b 64": {(12, 768): 57_408, (24, 1024): 132_864, (32, 4096): 610_560},
    "WeGeFT r 8 tied": {(12, 768): 24_576, (24, 1024): 32_768, (32, 4096): 131_072},
    "WeGeFT r 8": {(12, 768): 294_912, (24, 1024): 786_432, (32, 4096): 4_194_304},
}
CONFIGS = {
    "LoRA r 8": lambda query, _: LoraConfig(r=8, target_modules=query),
    "LoRETTA rep r 8": lambda query, _: LorettaRepConfig(r=8, target_modules=query),
    "LoRETTA adp b 64": lambda _, outputs: LorettaAdpConfig(bottleneck=64, target_modules=outputs),
    "WeGeFT r 8 tied": lambda query, _: WeGeFTConfig(r=8, tied=True, target_modules=query),
    "WeGeFT r 8": lambda query, _: WeGeFTConfig(r=8, tied=False, target_modules=query),
}


def build(layers, width):
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": width // 64}
    sizes |= {"intermediate_size": 4 * width, "vocab_size": 32}
    with torch.device("meta"):
        if width == 4096:
            return LlamaModel(LlamaConfig(**sizes)), ["q_proj", "v_proj"], ["q_proj", "o_proj", "down_proj"]
        return BertModel(BertConfig(**sizes)), ["query", "value"], ["output.dense"]


@pytest.mark.parametrize("method", COUNTS)
@pytest.mark.parametrize("size", [(12, 768), (24, 1024), (32, 4096)], ids=str)
def test_trainable_parameters_are_those_published(method, size):
    model, queries, outputs = build(*size)
    adapted = get_peft_model(model, CONFIGS[method](queries, outputs))
    assert sum(one.numel() for one in adapted.parameters() if one.requires_grad) == COUNTS[method][size]
