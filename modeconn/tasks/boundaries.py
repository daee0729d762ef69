"""Where a text's prompt ends and its answer begins, in the tokenizer's own tokens."""

from typing import Any, Protocol


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer of transformers."""

    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        """Token ids of every text under "input_ids"."""
        ...

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> Any:  # noqa: ANN401
        """The text of token ids."""
        ...


def tokenize(tokenizer: Tokenizer, texts: list[str]) -> list[tuple[int, ...]]:
    """Token ids without special tokens."""
    if not texts:
        return []
    return [tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def prompts_alone(tokenizer: Tokenizer, prompts: list[str]) -> list[set[tuple[int, ...]]]:
    """Every prompt's tokens: as it stands, and with its last character by itself where that is a blank.

    GPT-2 and its kin keep the last of several blanks apart if a word follows, and together if none does.
    """
    whole = tokenize(tokenizer, prompts)
    blank = [number for number, prompt in enumerate(prompts) if prompt[-1:].isspace()]
    bodies = tokenize(tokenizer, [prompts[number][:-1] for number in blank])
    ends = tokenize(tokenizer, [prompts[number][-1] for number in blank])
    apart = {number: body + end for number, body, end in zip(blank, bodies, ends, strict=True)}
    return [{tokens, apart.get(number, tokens)} for number, tokens in enumerate(whole)]


def joined(prompt: str, answer: str, separator: str) -> str:
    """Prompt and answer as one text, with a separator where neither brings a blank."""
    blank = prompt[-1:].isspace() or answer[:1].isspace()
    return prompt + answer if blank else prompt + separator + answer


def num_shared(prompt: tuple[int, ...], text: tuple[int, ...]) -> int:
    """The number of tokens at the start in which a text and its prompt alone agree."""
    pairs = zip(prompt, text, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(text)))
