"""Symmetries of T5: one residual stream through encoder and decoder, heads that all layers of a stack share."""

from modeconn.adapters.symmetry.heads import Attention
from modeconn.adapters.symmetry.pieces import (
    OPEN,
    RESIDUAL,
    Config,
    Piece,
    embedding,
    is_tied,
    linear,
    merged,
    norm,
    whole,
)
from modeconn.adapters.symmetry.spec import Block, Group, Norm, SymmetrySpec
from modeconn.adapters.symmetry.views import State

EMBEDDINGS = "shared.weight"
LM_HEAD = "lm_head.weight"


def t5(config: Config, state: State) -> SymmetrySpec:
    """T5 and T5 v1.1 with a language model's head.

    Encoder and decoder have the embeddings in common, and so one residual stream. The first layer's relative position
    bias, one number for each bucket and head, is added in every layer of its stack: the heads of a stack are one group
    over all layers. Cross attention has no such bias; its heads are free in each layer.
    """
    encoder, decoder = range(config.num_layers), range(config.num_decoder_layers)
    cross = tuple(f"{_stem('decoder', n)}.1.EncDecAttention.{kind}.weight" for n in decoder for kind in "kv")
    groups = [Group("residual", config.d_model)]
    groups += [Group(f"{stack}.heads", config.num_heads) for stack in ("encoder", "decoder")]
    return whole(
        [
            Piece(tuple(groups), (embedding(EMBEDDINGS),)),
            *(_layer(config, state, "encoder", number) for number in encoder),
            # What the encoder gives out is read by the keys and values of every decoder layer.
            _final(state, "encoder", cross),
            *(_layer(config, state, "decoder", number) for number in decoder),
            _final(state, "decoder", (LM_HEAD,)),
            _head(state),
        ]
    )


def _stem(stack: str, number: int) -> str:
    return f"{stack}.block.{number}.layer"


def _layer(config: Config, state: State, stack: str, number: int) -> Piece:
    """One layer of a stack."""
    stem, name = _stem(stack, number), f"{stack}.layers.{number}"
    sizes = {"num_heads": config.num_heads, "head_dim": config.d_kv}
    own = Attention.of(name, **sizes, heads=f"{stack}.heads")
    parts = [_attention(state, f"{stem}.0", "SelfAttention", own, "qkv")]
    bias = f"{stem}.0.SelfAttention.relative_attention_bias.weight"
    if number == 0:
        parts.append(Piece(blocks=(Block(bias, (OPEN, (f"{stack}.heads",))),)))
    if stack == "decoder":
        parts.append(_attention(state, f"{stem}.1", "EncDecAttention", Attention.of(f"{name}.cross", **sizes), "q"))
    return merged([*parts, _units(config, state, f"{stem}.{1 if stack == 'encoder' else 2}", f"{name}.mlp")])


def _attention(state: State, stem: str, kind: str, attention: Attention, normed: str) -> Piece:
    """Self or cross attention with the norm before it; `normed` are the projections that read the norm."""
    query, key, value, output = (f"{stem}.{kind}.{projection}" for projection in "qkvo")
    scale = Norm(f"{stem}.layer_norm.weight", tuple(f"{stem}.{kind}.{projection}.weight" for projection in normed))
    blocks = [*norm(state, f"{stem}.layer_norm"), *attention.linears(state, query, key, value, output)]
    return Piece(attention.groups, tuple(blocks), norms=(scale,))


def _units(config: Config, state: State, stem: str, name: str) -> Piece:
    """The feed-forward part, gated or not, with the norm before it."""
    dense, units = f"{stem}.DenseReluDense", Group(name, config.d_ff)
    into = [f"{dense}.wi_0", f"{dense}.wi_1"] if config.is_gated_act else [f"{dense}.wi"]
    blocks = [
        *norm(state, f"{stem}.layer_norm"),
        *(block for module in into for block in linear(state, module, (name,), RESIDUAL)),
        *linear(state, f"{dense}.wo", RESIDUAL, (name,)),
    ]
    scale = Norm(f"{stem}.layer_norm.weight", tuple(f"{module}.weight" for module in into))
    return Piece((units,), tuple(blocks), norms=(scale,))


def _final(state: State, stack: str, readers: tuple[str, ...]) -> Piece:
    """The norm at the end of a stack."""
    module = f"{stack}.final_layer_norm"
    return Piece(blocks=tuple(norm(state, module)), norms=(Norm(f"{module}.weight", readers),))


def _head(state: State) -> Piece:
    """The head, tied or not, and the copies of the embeddings that a state in memory shows."""
    copies = ((f"{stack}.embed_tokens.weight", EMBEDDINGS) for stack in ("encoder", "decoder"))
    if is_tied(state, LM_HEAD, EMBEDDINGS, by_config=True):
        return Piece(ties=(*copies, (LM_HEAD, EMBEDDINGS)))
    return Piece(blocks=(Block(LM_HEAD, (OPEN, RESIDUAL)),), ties=tuple(copies))
