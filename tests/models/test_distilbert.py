"""DistilBERT: PEFT saves every module whose name ends as one to be saved does, `pre_classifier` with `classifier`."""

import torch
from peft import LoraConfig, get_peft_model
from random_tasks import random_task
from tiny import LABELS, VOCABULARY, make_tokenizer
from transformers import DistilBertConfig, DistilBertForSequenceClassification

import modeconn as mc


def test_a_classifier_with_two_layers_in_its_head_is_evaluated_as_peft_does(tmp_path):
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(VOCABULARY), dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=64,
        num_labels=3, pad_token_id=0,
    )  # fmt: skip
    base = tmp_path / "base"
    DistilBertForSequenceClassification(config).save_pretrained(base)
    make_tokenizer("bert").save_pretrained(base)
    points = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = DistilBertForSequenceClassification.from_pretrained(base)
        lora = LoraConfig(r=2, target_modules=["q_lin"], task_type="SEQ_CLS", init_lora_weights=False)
        peft_model = get_peft_model(model, lora)
        with torch.no_grad():
            for name, weight in peft_model.named_parameters():
                if "modules_to_save" in name:
                    weight.add_(torch.randn_like(weight))
        peft_model.save_pretrained(str(tmp_path / f"adapter-{seed}"))
        points.append(mc.Adapter.from_pretrained(tmp_path / f"adapter-{seed}"))
    heads = {"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"}
    assert set(points[0].saved) == heads
    model = mc.AdapterModel.from_pretrained(base, adapters=points, labels=LABELS)
    profile = mc.evaluate_path(mc.LinearPath(*points), model, [random_task(labels=LABELS)], num_points=3)
    (checks,) = profile.checks.values()
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-5
