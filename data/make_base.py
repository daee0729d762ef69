"""Make the embedded base model: `python data/make_base.py --data FOLDER` writes `data/base`.

FOLDER holds the real tasks as `NAME/{train,eval}.json`, lists of prompt and answer. The script learns a
tokenizer, trains a small Llama from scratch on the real train splits and on text of the generated kinds,
measures it on held-out text and writes a card. Nothing is fetched.
"""

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from make_tasks import SEED as TASK_SEED
from pretraining.card import write_card
from pretraining.measuring import perplexities, unigram_log_probabilities
from pretraining.texts import generated_sample, mixed_texts, task_texts
from pretraining.tokenizer import VOCABULARY, train_tokenizer
from pretraining.training import Recipe, new_model, train
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
REAL_SHARE = 0.4  # of the characters read
TOKENIZER_SAMPLE = 12_000  # generated texts that the tokenizer learns from
MEASURED = 100  # texts measured per source


def training_tokens(tokenizer: PreTrainedTokenizerFast, texts: Iterator[str], num_tokens: int) -> torch.Tensor:
    """The first tokens of an endless series of texts, `<s> text </s>` after `<s> text </s>`.

    Args:
        tokenizer: Puts `<s>` before each text.
        texts: Without end.
        num_tokens: Length of the result L.

    Returns:
        `[L]`, token ids.
    """
    ids: list[int] = []
    while len(ids) < num_tokens:
        for one in tokenizer.backend_tokenizer.encode_batch(list(itertools.islice(texts, 1000))):
            ids += [*one.ids, tokenizer.eos_token_id]
    return torch.tensor(ids[:num_tokens])


def held_out_texts(data: Path, seed: int) -> dict[str, list[str]]:
    """The texts that measure the model, by source: real eval splits, generated eval splits, free text."""
    generated = {f"generated {kind}": texts for kind, texts in task_texts(HERE, "eval").items()}
    sources = task_texts(data, "eval") | generated
    sources["generated free text"] = generated_sample(MEASURED, seed + 1)
    return {name: texts[:MEASURED] for name, texts in sources.items()}


def replace_folder(new: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one by two renames."""
    old = folder.with_name(f".{folder.name}-old-{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    new.chmod(0o755)  # temporary folders and safetensors files are made for their maker alone
    for path in new.iterdir():
        path.chmod(0o644)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def flags_of(recipe: Recipe) -> str:
    """The flags that make this recipe, where they are not the defaults."""
    changed = {name: value for name, value in dataclasses.asdict(recipe).items() if value != getattr(Recipe(), name)}
    if not changed.pop("bf16", True):
        changed["no-bf16"] = ""
    return "".join(f" --{name.replace('_', '-')} {value}".rstrip() for name, value in changed.items())


def make_base(data: Path, folder: Path, recipe: Recipe) -> None:
    """Learn the tokenizer, train, save, measure what was saved, write the card, put it in place."""
    torch.set_num_threads(recipe.threads)
    real = list(itertools.chain.from_iterable(task_texts(data, "train").values()))
    tokenizer = train_tokenizer([*real, *generated_sample(TOKENIZER_SAMPLE, recipe.seed)])
    texts = mixed_texts(real, recipe.seed, real_share=REAL_SHARE)
    stream = training_tokens(tokenizer, texts, recipe.tokens)
    model = new_model(tokenizer, recipe.seed)
    print(f"{model.num_parameters():,} parameters, {len(stream):,} tokens", flush=True)
    seconds = train(model, stream.view(-1, recipe.row_length), recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".base-", dir=folder.parent))
    model.to(torch.bfloat16).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    saved = LlamaForCausalLM.from_pretrained(temporary, dtype=torch.float32).eval()
    unigram = unigram_log_probabilities(stream, VOCABULARY)
    sources = held_out_texts(data, recipe.seed)
    reader = AutoTokenizer.from_pretrained(temporary)
    metrics = {name: perplexities(saved, reader, texts, unigram) for name, texts in sources.items()}
    (temporary / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    write_card(
        temporary,
        recipe,
        metrics,
        flags=flags_of(recipe),
        parameters=saved.num_parameters(),
        seconds=seconds,
        num_real=len(real),
        real_share=REAL_SHARE,
        measured=MEASURED,
        task_seed=TASK_SEED,
    )
    replace_folder(temporary, folder)


def main() -> None:
    """Read the flags and make the base."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real tasks")
    parser.add_argument("--output-dir", type=Path, default=HERE / "base", help="folder of the model")
    for field in dataclasses.fields(Recipe):
        if field.name != "bf16":
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=Recipe.bf16)
    flags = vars(parser.parse_args())
    data, folder = flags.pop("data"), flags.pop("output_dir")
    make_base(data, folder, Recipe(**flags))


if __name__ == "__main__":
    main()
