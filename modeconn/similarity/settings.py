"""What a CKA report is made of: where activations are taken, how they are pooled, how sure the numbers are made."""

from dataclasses import dataclass

from modeconn.errors import EvaluationError
from modeconn.models.pooling import Pooling, check_pooling

TOKENS_EXAMPLES = 16  # examples whose tokens are a minibatch, where none was asked for


@dataclass(frozen=True, kw_only=True)
class CKASettings:
    """How representations are compared.

    The full batch is the default: the pooled features of all examples are kept on the CPU (`[N, D]` float32 a site),
    and every example can be left out, resampled and shuffled. A minibatch size makes the memory independent of the
    number of examples, at the price of wider intervals and no influence of single examples; tokens, of which there are
    too many for a full batch, always go that way.

    Attributes:
        sites: Where: "layers", "attention", "mlp", "all", modules' names, or several.
        pooling: What stands for an example: the "last-token" of its prompt, the "mean" over the prompt, its first token
            ("cls"); or "all-tokens", each a row of its own that is compared with tokens of other examples only, which
            needs one tokenizer. Of a `ModuleModel` an output
            `[B, D]` stands for itself; of `[B, L, D]`, and of images `[B, D, H, W]`, the "mean" over all positions,
            the first one ("cls"), or all of it as one vector ("flatten", as most work on convolutions has it; of
            `[B, D, L]`, too). Nothing is known of padding there: a submodule that pools can be a site.
        num_examples: How many examples, spread over the split; None takes all.
        minibatch_size: Examples a minibatch; None takes the full batch.
        num_resamples: Of the bootstrap over examples; 0 gives no intervals.
        num_permutations: Of the null, in which examples are shuffled; 0 gives none.
        level: Of the intervals.
        seed: Of resamples, permutations and minibatches.

    Raises:
        EvaluationError: If a number or the pooling cannot be.
    """

    sites: str | tuple[str, ...] = "layers"
    pooling: Pooling = "last-token"
    num_examples: int | None = 1000
    minibatch_size: int | None = None
    num_resamples: int = 1000
    num_permutations: int = 0
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_pooling(self.pooling)
        least = {"num_examples": 4, "minibatch_size": 4, "num_resamples": 0, "num_permutations": 0, "seed": 0}
        wrong = [
            f"{name}={value}"
            for name, low in least.items()
            if (value := getattr(self, name)) is not None and value < low
        ]
        if wrong or not 0 < self.level < 1:
            raise EvaluationError(
                "representations cannot be compared like this",
                expected=", ".join(f"{name} at least {low}" for name, low in least.items()) + ", level between 0 and 1",
                got=", ".join(wrong) or f"level={self.level}",
                remedy="give larger numbers",
            )
        if self.streams and self.num_permutations:
            raise EvaluationError(
                "a permutation null needs all examples together",
                expected="the full batch: one vector an example, and no minibatch_size",
                got=f"pooling={self.pooling!r}, minibatch_size={self.minibatch_size}",
                remedy="leave the null out (num_permutations=0), or pool the tokens",
            )

    @property
    def streams(self) -> bool:
        """Whether minibatches are accumulated."""
        return self.minibatch_size is not None or self.pooling == "all-tokens"
