"""The model card of the embedded vision transformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
---

# The embedded vision transformer

A ViT of 4 layers and 64 hidden units ({parameters:,} parameters, 4 heads) for grey images of 8 x 8 pixels, which it
reads as 16 patches of 2 x 2. The weights are stored in bfloat16. It is here so that `modeconn` can show and test its
work on images without a download.

## What it was trained on

The train splits of one class of every pair in `data/digits`: the even digits 0, 2, 4, 6 and 8, 110 images each. No odd
digit and no image of the eval and test splits was seen. So each of the five tasks asks for one class that the
base model has seen and one that is new to it, and no task is nearer to the pretraining than another.

AdamW (weight decay {weight_decay}), {epochs} epochs in batches of {batch}, a learning rate of {learning_rate:g} that
falls to 0 by a cosine, images moved by at most a pixel at random, float32, one thread.

## What it can do

Share of the images of the five even digits that it recognises, measured on the stored weights in float32: {train:.3f}
of the train splits, {eval:.3f} of the eval splits, {test:.3f} of the test splits. Its head names these five classes;
training on the tasks gives it another head. It is not meant to be used for any purpose but demonstrations, tests and
the study of fine-tuning.

## How it was made

    python data/make_vit.py

Seed {seed} settles the weights, the order and the shifts. Made with torch {torch} and transformers {transformers}.
Another processor, version or number of threads adds in another order: the weights then differ, and the shares above are
the things to compare.

## Licence

The weights are under the licence of this project (Apache-2.0). The images are under CC BY 4.0, see `data/digits`.
"""


def write_card(
    folder: Path,
    recipe: Mapping[str, Any],
    measured: Mapping[str, float],
    *,
    parameters: int,
    versions: Mapping[str, str],
) -> None:
    """Write `README.md`.

    Args:
        folder: Of the model.
        recipe: The settings of the training, by name.
        measured: Split -> share of images that are recognised.
        parameters: How many the model has.
        versions: Library -> version.
    """
    text = CARD.format(**recipe, **measured, **versions, parameters=parameters)
    (folder / "README.md").write_text(text, encoding="utf-8")
