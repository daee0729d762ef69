"""Which units of an attention layer can be permuted, and where they lie in its four projections."""

from dataclasses import dataclass

from modeconn.adapters.symmetry.pieces import RESIDUAL, Axes, linear
from modeconn.adapters.symmetry.spec import Axis, Block, Group
from modeconn.adapters.symmetry.views import State


@dataclass(frozen=True)
class Attention:
    """The heads of one attention layer: groups, and the axes of its four projections.

    What can be permuted without changing the function:

    - the heads; with grouped queries the key-value heads with their queries, and the query heads of one key-value head
      among themselves;
    - the inner dimensions of a head's value, together with the columns of the output projection;
    - the inner dimensions of a head's query together with its key's, unless a rotary position embedding gives
      each pair of dimensions its own frequency.

    Attributes:
        groups: The groups, outer before inner.
        query: Rows of the query projection.
        key: Rows of the key projection.
        value: Rows of the value projection.
        output: Columns of the output projection.
    """

    groups: tuple[Group, ...]
    query: Axes
    key: Axes
    value: Axes
    output: Axes

    @classmethod
    def of(
        cls,
        name: str,
        *,
        num_heads: int,
        head_dim: int,
        num_key_value_heads: int | None = None,
        rotary: bool = False,
        heads: str | None = None,
    ) -> "Attention":
        """The heads of a layer.

        Args:
            name: How the groups are called, such as "layers.0".
            num_heads: Number of query heads.
            head_dim: Inner dimensions of a head.
            num_key_value_heads: Number of key-value heads, if fewer.
            rotary: Whether queries and keys carry a rotary position embedding.
            heads: Name of the group of heads, if other layers share it: the group itself is then declared elsewhere.
        """
        num_outer = num_key_value_heads or num_heads
        outer, queries = heads or f"{name}.heads", f"{name}.queries"
        values, keys = f"{name}.value_dims", f"{name}.key_dims"
        groups = [] if heads else [Group(outer, num_outer)]
        groups.append(Group(values, head_dim, within=outer))
        if not rotary:
            groups.append(Group(keys, head_dim, within=outer))
        if num_outer < num_heads:
            groups.append(Group(queries, num_heads // num_outer, within=outer))
        grouped: Axes = (outer, queries) if num_outer < num_heads else (outer,)
        inner: Axis = head_dim if rotary else keys
        return cls(
            groups=tuple(groups),
            query=(*grouped, inner),
            key=(outer, inner),
            value=(outer, values),
            output=(*grouped, values),
        )

    def linears(self, state: State, query: str, key: str, value: str, output: str) -> list[Block]:
        """Four linear layers that read and write the residual stream, by their module names."""
        return [
            *linear(state, query, self.query, RESIDUAL),
            *linear(state, key, self.key, RESIDUAL),
            *linear(state, value, self.value, RESIDUAL),
            *linear(state, output, RESIDUAL, self.output),
        ]
