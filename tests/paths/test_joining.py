"""Why two points have no line in a space."""

import torch
from kind_points import Base, kind_point, random
from points import make_point, make_tensors

from modeconn.adapters import Adapter, Dense, Update
from modeconn.paths.joining import joining


def test_factors_that_only_the_base_gives_are_missed_by_name_once():
    settings = {"r": 2, "lora_alpha": 3, "init_lora_weights": "pissa"}
    tensors = {"q.lora_A.weight": random(2, 5), "q.lora_B.weight": random(6, 2)}
    pair = joining(kind_point("LORA", tensors, **settings), kind_point("LORA", tensors, **settings))
    assert pair.refused == {
        "aligned-factors": "low-rank factors of q.weight cannot be known without the base: bind the points to it"
        " first, point.on(base)"
    }


def test_points_that_were_bound_to_the_base_have_their_factors():
    settings = {"r": 2, "lora_alpha": 3, "init_lora_weights": "pissa"}
    tensors = {"q.lora_A.weight": random(2, 5), "q.lora_B.weight": random(6, 2)}
    point = kind_point("LORA", tensors, **settings).on(Base({"q.weight": random(6, 5, seed=1)}))
    assert joining(point, point).spaces == ("weights", "factors", "aligned-factors")


def test_an_update_without_factors_is_named_once():
    first, second = (make_point(make_tensors(seed)) for seed in (1, 2))
    dense = {"layers.0.q.weight": Update.of(Dense(torch.ones(6, 5)))}
    points = [Adapter(one.config, {**one.updates, **dense}, {}) for one in (first, second)]
    told = joining(*points).refused["aligned-factors"]
    assert told == "there is nothing to align: no low-rank factors of layers.0.q.weight"
