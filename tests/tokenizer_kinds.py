"""Tokenizers of five kinds, each small enough to be read: bytes, SentencePiece of three sorts, words."""

from functools import cache

from tiny import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

LETTERS = "AacdehimnorstuwyzbĠĊ:.Ã©▁"


def bpe(words):
    """A model that writes each word as one token, joined letter by letter; earlier words win."""
    merges = dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word)))
    pieces = ["<s>", "</s>", "<unk>", *LETTERS, *dict.fromkeys(left + right for left, right in merges)]
    return models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=list(merges), unk_token="<unk>")


def byte_level():
    """As GPT-2's: no special tokens around a text; a blank belongs to the word after it."""
    tokenizer = Tokenizer(bpe(["Ġundo", "ĊĊ", "the", "Ġcat", "Ġyes", "yes", "Ġno", "no", "Answer", "Ġa"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def metaspace(model, *, split):
    """As SentencePiece's: a text begins with <s>, a word with a mark; unsplit, tokens reach over blanks."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    tokenizer.decoder = decoders.Metaspace(split=split)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def tokenizer_of(kind):
    if kind == "byte-level":
        return byte_level()
    if kind == "words":
        return make_tokenizer("llama")
    if kind == "unigram":
        words = ["<s>", "</s>", "<unk>", *LETTERS, "▁the", "▁cat", "▁Answer:", "▁yes", "▁un", "▁undo", "do", "▁a"]
        scores = [(word, -10.0 + len(word)) for word in words]
        return metaspace(models.Unigram(scores, unk_id=2, byte_fallback=False), split=True)
    if kind == "metaspace":
        return metaspace(bpe(["▁Answer:", "▁the", "▁cat", "▁yes", "▁undo", "▁a"]), split=True)
    return metaspace(bpe(["▁the▁cat▁sat", "▁Answer", "▁cat", ":▁yes"]), split=False)


KINDS = ["byte-level", "metaspace", "unsplit", "unigram", "words"]
