"""Symmetries of encoders: BERT, ViT."""

from modeconn.adapters.symmetry.heads import Attention
from modeconn.adapters.symmetry.pieces import (
    OPEN,
    RESIDUAL,
    Config,
    Piece,
    embedding,
    is_tied,
    linear,
    norm,
    whole,
)
from modeconn.adapters.symmetry.spec import Block, Group, SymmetrySpec
from modeconn.adapters.symmetry.views import State

# Module names of a ViT's layer in transformers 5, and in the files that it writes for older versions to read.
VIT_LOADED = ("q_proj", "k_proj", "v_proj", "o_proj"), ("mlp.fc1", "mlp.fc2")
VIT_SAVED = (
    ("attention.query", "attention.key", "attention.value", "output.dense"),
    (
        "intermediate.dense",
        "output.dense",
    ),
)


def bert(config: Config, state: State) -> SymmetrySpec:
    """BERT: layer norms after each sum; classifiers with or without a pooler, masked language models."""
    stem = "bert.embeddings"
    stream = Piece(
        (Group("residual", config.hidden_size),),
        (
            *(embedding(f"{stem}.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")),
            *norm(state, f"{stem}.LayerNorm"),
        ),
    )
    layers = (_bert_layer(config, state, number) for number in range(config.num_hidden_layers))
    return whole([stream, *layers, _bert_classifiers(config, state), _bert_language_model(config, state)])


def _bert_layer(config: Config, state: State, number: int) -> Piece:
    """One layer of BERT."""
    stem, units = f"bert.encoder.layer.{number}", Group(f"layers.{number}.mlp", config.intermediate_size)
    attention = _attention(config, number)
    inner = f"{stem}.attention.self"
    blocks = [
        *attention.linears(state, f"{inner}.query", f"{inner}.key", f"{inner}.value", f"{stem}.attention.output.dense"),
        *norm(state, f"{stem}.attention.output.LayerNorm"),
        *linear(state, f"{stem}.intermediate.dense", (units.name,), RESIDUAL),
        *linear(state, f"{stem}.output.dense", RESIDUAL, (units.name,)),
        *norm(state, f"{stem}.output.LayerNorm"),
    ]
    return Piece((*attention.groups, units), tuple(blocks))


def _bert_classifiers(config: Config, state: State) -> Piece:
    """The heads that read the pooler, or the stream itself where there is none."""
    groups, blocks, read = [], [], RESIDUAL
    if "bert.pooler.dense.weight" in state:
        groups, read = [Group("pooler", config.hidden_size)], ("pooler",)
        blocks = linear(state, "bert.pooler.dense", read, RESIDUAL)
    for head, columns in (("classifier", read), ("cls.seq_relationship", read), ("qa_outputs", RESIDUAL)):
        if f"{head}.weight" in state:
            blocks += linear(state, head, OPEN, columns)
    return Piece(tuple(groups), tuple(blocks))


def _bert_language_model(config: Config, state: State) -> Piece:
    """The head of masked language models; its own hidden layer lies in the stream if its output is tied."""
    stem, embeddings = "cls.predictions", "bert.embeddings.word_embeddings.weight"
    if f"{stem}.transform.dense.weight" not in state:
        return Piece()
    tied = is_tied(state, f"{stem}.decoder.weight", embeddings, by_config=config.tie_word_embeddings)
    hidden = RESIDUAL if tied else ("lm_head",)
    blocks = [
        *linear(state, f"{stem}.transform.dense", hidden, RESIDUAL),
        *norm(state, f"{stem}.transform.LayerNorm", hidden),
        Block(f"{stem}.bias", (OPEN,)),
    ]
    pairs = {f"{stem}.decoder.bias": f"{stem}.bias"} | ({f"{stem}.decoder.weight": embeddings} if tied else {})
    ties = {copy: source for copy, source in pairs.items() if is_tied(state, copy, source, by_config=True)}
    own = linear(state, f"{stem}.decoder", OPEN, hidden)
    blocks += [block for block in own if block.parameter not in ties]
    return Piece(() if tied else (Group("lm_head", config.hidden_size),), tuple(blocks), ties=tuple(ties.items()))


def vit(config: Config, state: State) -> SymmetrySpec:
    """ViT classifiers: layer norms before each part, patches embedded by a convolution."""
    stem = "vit.embeddings"
    stream = Piece(
        (Group("residual", config.hidden_size),),
        (
            Block(f"{stem}.cls_token", (OPEN, OPEN, RESIDUAL)),
            Block(f"{stem}.position_embeddings", (OPEN, OPEN, RESIDUAL)),
            Block(f"{stem}.patch_embeddings.projection.weight", (RESIDUAL, OPEN, OPEN, OPEN)),
            Block(f"{stem}.patch_embeddings.projection.bias", (RESIDUAL,)),
        ),
    )
    layers = (_vit_layer(config, state, number) for number in range(config.num_hidden_layers))
    head = [*norm(state, "vit.layernorm"), *linear(state, "classifier", OPEN, RESIDUAL)]
    return whole([stream, *layers, Piece(blocks=tuple(head))])


def _vit_layer(config: Config, state: State, number: int) -> Piece:
    """One layer of ViT."""
    saved = "vit.encoder.layer.0.layernorm_before.weight" in state
    stem = f"vit.encoder.layer.{number}" if saved else f"vit.layers.{number}"
    projections, (up, down) = VIT_SAVED if saved else VIT_LOADED
    units, attention = Group(f"layers.{number}.mlp", config.intermediate_size), _attention(config, number)
    query, key, value, output = (f"{stem}.attention.{module}" for module in projections)
    blocks = [
        *norm(state, f"{stem}.layernorm_before"),
        *attention.linears(state, query, key, value, output),
        *norm(state, f"{stem}.layernorm_after"),
        *linear(state, f"{stem}.{up}", (units.name,), RESIDUAL),
        *linear(state, f"{stem}.{down}", RESIDUAL, (units.name,)),
    ]
    return Piece((*attention.groups, units), tuple(blocks))


def _attention(config: Config, number: int) -> Attention:
    """Heads without rotary positions and without grouped queries."""
    num_heads = config.num_attention_heads
    return Attention.of(f"layers.{number}", num_heads=num_heads, head_dim=config.hidden_size // num_heads)
