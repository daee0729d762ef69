"""Symmetries of decoders: Llama and its relatives, GPT-2."""

from modeconn.adapters.symmetry.heads import Attention
from modeconn.adapters.symmetry.pieces import (
    OPEN,
    RESIDUAL,
    Axes,
    Config,
    Piece,
    embedding,
    is_tied,
    linear,
    norm,
    whole,
)
from modeconn.adapters.symmetry.spec import Block, Group, Norm, SymmetrySpec
from modeconn.adapters.symmetry.views import State


def llama(config: Config, state: State) -> SymmetrySpec:
    """Llama, Mistral, Qwen2 and Qwen3: RMS norms, rotary positions, gated units, grouped queries."""
    embeddings = "model.embed_tokens.weight"
    head = _head(config, state, embeddings)
    final = Piece(
        groups=(),
        blocks=tuple(norm(state, "model.norm")),
        norms=(Norm("model.norm.weight", ("score.weight" if "score.weight" in state else "lm_head.weight",)),),
    )
    stream = Piece((Group("residual", config.hidden_size),), (embedding(embeddings),))
    layers = (_llama_layer(config, state, number) for number in range(config.num_hidden_layers))
    return whole([stream, *layers, final, head])


def _llama_layer(config: Config, state: State, number: int) -> Piece:
    """One layer of Llama."""
    stem, units = f"model.layers.{number}", Group(f"layers.{number}.mlp", config.intermediate_size)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = Attention.of(
        f"layers.{number}",
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=head_dim,
        rotary=True,
    )
    into = {kind: f"{stem}.self_attn.{kind}_proj" for kind in "qkvo"}
    gate, up, down = (f"{stem}.mlp.{kind}_proj" for kind in ("gate", "up", "down"))
    before, after = f"{stem}.input_layernorm", f"{stem}.post_attention_layernorm"
    # Qwen3 has a norm of the inner dimensions, the same for all heads: they are rotary and do not move.
    inner = [f"{stem}.self_attn.{kind}_norm" for kind in "qk" if f"{stem}.self_attn.{kind}_norm.weight" in state]
    blocks = [
        *norm(state, before),
        *attention.linears(state, into["q"], into["k"], into["v"], into["o"]),
        *(block for module in inner for block in norm(state, module, (head_dim,))),
        *norm(state, after),
        *linear(state, gate, (units.name,), RESIDUAL),
        *linear(state, up, (units.name,), RESIDUAL),
        *linear(state, down, RESIDUAL, (units.name,)),
    ]
    norms = (
        Norm(f"{before}.weight", tuple(f"{into[kind]}.weight" for kind in "qkv")),
        Norm(f"{after}.weight", (f"{gate}.weight", f"{up}.weight")),
    )
    return Piece((*attention.groups, units), tuple(blocks), norms=norms)


def gpt2(config: Config, state: State) -> SymmetrySpec:
    """GPT-2: layer norms, learned positions; Conv1D keeps its weights as `[in, out]`."""
    embeddings = "transformer.wte.weight"
    stream = Piece(
        (Group("residual", config.hidden_size),), (embedding(embeddings), embedding("transformer.wpe.weight"))
    )
    layers = (_gpt2_layer(config, state, number) for number in range(config.num_hidden_layers))
    final = Piece(blocks=tuple(norm(state, "transformer.ln_f")))
    return whole([stream, *layers, final, _head(config, state, embeddings)])


def _gpt2_layer(config: Config, state: State, number: int) -> Piece:
    """One layer of GPT-2."""
    stem, units = f"transformer.h.{number}", Group(f"layers.{number}.mlp", config.n_inner or 4 * config.hidden_size)
    num_heads = config.num_attention_heads
    attention = Attention.of(f"layers.{number}", num_heads=num_heads, head_dim=config.hidden_size // num_heads)
    fused, parts = f"{stem}.attn.c_attn", (attention.query, attention.key, attention.value)
    blocks = [
        *norm(state, f"{stem}.ln_1"),
        *(Block(f"{fused}.weight", (RESIDUAL, axes), part=(1, i, 3)) for i, axes in enumerate(parts)),
        *(Block(f"{fused}.bias", (axes,), part=(0, i, 3)) for i, axes in enumerate(parts)),
        *_conv1d(f"{stem}.attn.c_proj", attention.output, RESIDUAL),
        *norm(state, f"{stem}.ln_2"),
        *_conv1d(f"{stem}.mlp.c_fc", RESIDUAL, (units.name,)),
        *_conv1d(f"{stem}.mlp.c_proj", (units.name,), RESIDUAL),
    ]
    return Piece((*attention.groups, units), tuple(blocks))


def _conv1d(module: str, inputs: Axes, outputs: Axes) -> list[Block]:
    """A Conv1D of transformers, `[in, out]`, with its bias."""
    return [Block(f"{module}.weight", (inputs, outputs)), Block(f"{module}.bias", (outputs,))]


def _head(config: Config, state: State, embeddings: str) -> Piece:
    """The classifier if there is one, or else the language model's head, tied or not."""
    if "score.weight" in state:
        return Piece(blocks=tuple(linear(state, "score", OPEN, RESIDUAL)))
    if is_tied(state, "lm_head.weight", embeddings, by_config=config.tie_word_embeddings):
        return Piece(ties=(("lm_head.weight", embeddings),))
    return Piece(blocks=tuple(linear(state, "lm_head", OPEN, RESIDUAL)))
