"""One file per kind of adapter: how its tensors become weight updates. Knows no model."""
