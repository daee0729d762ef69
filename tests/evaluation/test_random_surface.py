"""Random filter-normalised directions, filter by filter, and surfaces in them."""

import pandas as pd
import pytest
import torch
from places import MemoryStore, no_task, place_model
from prompt_adapters import make_prompt
from torch import nn

import modeconn as mc
from modeconn.evaluation.directions import default_filters, random_step
from modeconn.evaluation.random_surface import evaluate_surface
from modeconn.models.module_model import ModuleModel, TensorTask, module_point


def step(point, model, filters, *, seed=0):
    return random_step(point, model, filters=filters, generator=torch.Generator().manual_seed(seed))


def directions(point, moved):
    """Parameter -> what was added to it, dense, `[out, ...]`."""
    updates = {name: moved.updates[name].dense() - update.dense() for name, update in point.updates.items()}
    return updates | {name: moved.saved[name] - value for name, value in point.saved.items()}


def filter_lengths(value):
    return value.flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4 * 4, 5)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def network_model(network):
    inputs = torch.randn(12, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    loss = nn.CrossEntropyLoss(reduction="none")
    return ModuleModel(network, loss, norm_inputs=inputs)


def test_a_module_moves_by_its_filters_and_not_in_biases_and_norms(network, network_model):
    point = module_point(network)
    found = directions(point, step(point, network_model, "weights"))
    for name in ("0.weight", "3.weight"):
        torch.testing.assert_close(filter_lengths(found[name]), filter_lengths(point.saved[name]))
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert not found[name].any()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_moves_by_the_rows_of_its_update_and_keeps_its_rank(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    for name, change in directions(point, step(point, model, "update")).items():
        torch.testing.assert_close(
            filter_lengths(change), filter_lengths(point.updates[name].dense()), rtol=1e-4, atol=1e-6
        )
        assert torch.linalg.matrix_rank(change, atol=1e-4 * float(change.norm())) == point.updates[name].rank


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_update_that_needs_the_base_moves_by_its_rows_there(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, 1, use_dora=True))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    bound = point.on(model)
    for name, change in directions(bound, step(point, model, "update").on(model)).items():
        expected = filter_lengths(bound.updates[name].dense())
        torch.testing.assert_close(filter_lengths(change), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_weights_as_filters_are_those_of_the_changed_model(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    for name, change in directions(point, step(point, model, "weights")).items():
        base = model.weight(name).T if model.transposed(name) else model.weight(name)
        whole = base + point.updates[name].dense()
        torch.testing.assert_close(filter_lengths(change), filter_lengths(whole), rtol=1e-4, atol=1e-5)


def test_the_direction_does_not_depend_on_the_gauge(adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    generator = torch.Generator().manual_seed(5)
    tensors = dict(point.tensors)
    for name in point.tensors:
        if name.endswith("lora_A.weight"):
            turn = torch.randn(4, 4, generator=generator) + 3 * torch.eye(4)
            up = name.replace("lora_A", "lora_B")
            tensors[name] = torch.linalg.inv(turn) @ tensors[name]
            tensors[up] = tensors[up] @ turn
    other = mc.Adapter.from_tensors(tensors, point.config, name="other gauge")
    ours, theirs = (directions(one, step(one, model, "update")) for one in (point, other))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)


def test_heads_stay_with_the_update_as_filters_and_move_with_the_weights(adapters):
    point = mc.Adapter.from_pretrained(adapters("bert", 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], labels=["a", "b", "c"])
    still = directions(point, step(point, model, "update"))
    moving = directions(point, step(point, model, "weights"))
    assert not still["classifier.weight"].any()
    expected = filter_lengths(point.saved["classifier.weight"])
    torch.testing.assert_close(filter_lengths(moving["classifier.weight"]), expected)
    assert not moving["classifier.bias"].any()


def test_factors_as_filters_move_the_adapters_own_tensors(adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    moved = step(point, model, "factors")
    for name, value in point.tensors.items():
        torch.testing.assert_close(
            filter_lengths(moved.tensors[name] - value), filter_lengths(value), rtol=1e-4, atol=1e-6
        )


def test_two_seeds_give_two_directions_and_one_seed_one(adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", 1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    first, same, other = (step(point, model, "update", seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != other.fingerprint


def test_a_surface_is_the_landscape_in_the_two_directions():
    # One filter: a parameter of shape [1, 3]; the loss is quadratic in it.
    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            self.row = nn.Parameter(torch.tensor([[3.0, 0.0, 4.0]]))

        def forward(self, inputs):
            return self.row.expand(len(inputs), 3)

    target = torch.tensor([1.0, 2.0, 3.0])
    model = ModuleModel(
        Row(), lambda outputs, _: (outputs.double() - target).square().sum(1), score=lambda o, _: o[:, 0] * 0
    )
    point = module_point(model.module, name="row")
    found = evaluate_surface(point, model, [no_task()], num_points=3, radius=0.5, seed=4)
    generator = torch.Generator().manual_seed(4)
    drawn = [torch.randn(1, 3, generator=generator) for _ in range(2)]
    first, second = (5.0 * one / one.norm() for one in drawn)  # the row's length is 5
    for _, row in found.frame.iterrows():
        place = point.saved["row"] + row["x"] * first + row["y"] * second
        assert row["loss"] == pytest.approx(float((place - target).square().sum()), rel=1e-5)
    assert sorted(found.frame["x"].unique()) == [-0.5, 0.0, 0.5]
    assert set(found.frame["unit"]) == {"filter-normalised step, weights"}
    assert found.points[["name", "x", "y"]].to_numpy().tolist() == [["row", 0.0, 0.0]]


def test_the_middle_is_the_checkpoint_itself(ends, model, tasks):
    found = evaluate_surface(ends[0], model, tasks, num_points=3)
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=2).frame.query("t == 0")
    middle = found.frame.query("x == 0 and y == 0").set_index("task")["loss"]
    pd.testing.assert_series_equal(middle, profile.set_index("task")["loss"], check_exact=True)
    assert found.checks["filters"] == "update"
    assert set(found.checks["points_agree_with_peft_within"]) == {ends[0].name}


def test_batch_norm_is_measured_anew_on_the_surface(network, network_model):
    inputs = network_model.norm_inputs
    task = TensorTask("classes", {"test": (inputs, torch.arange(12) % 5)})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = evaluate_surface(module_point(network), network_model, [task], num_points=3)
    assert found.frame["loss"].nunique() == 9
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_finished_points_are_kept(network, network_model):
    task = TensorTask("classes", {"test": (network_model.norm_inputs, torch.arange(12) % 5)})
    store = MemoryStore()
    first = evaluate_surface(module_point(network), network_model, [task], num_points=3, store=store)
    assert len(store) == 9
    again = evaluate_surface(module_point(network), network_model, [task], num_points=3, store=store)
    assert len(store) == 9
    pd.testing.assert_frame_equal(again.frame, first.frame, check_exact=True)
    evaluate_surface(module_point(network), network_model, [task], num_points=3, store=store, seed=1)
    assert len(store) == 9 + 9


def test_what_a_point_has_decides_the_default(adapters, network):
    assert default_filters(mc.Adapter.from_pretrained(adapters("llama", 1))) == "update"
    assert default_filters(module_point(network)) == "weights"


def test_prompts_move_token_by_token(bases, tmp_path, tasks):
    point = mc.Adapter.from_pretrained(make_prompt(tmp_path / "p", bases("llama"), "llama", "PROMPT_TUNING", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    found = evaluate_surface(point, model, tasks[:1], num_points=3)
    assert found.checks["filters"] == "factors"
    assert set(found.frame["space"]) == {"factors"}
    assert found.frame["loss"].nunique() == 9


def test_bad_arguments(network, network_model):
    point = module_point(network, name="net")
    with pytest.raises(mc.EvaluationError, match=r"(?s)around net matched to 'update'.*weights or factors.*remedy"):
        evaluate_surface(point, network_model, [TensorTask("t", {})], filters="update")
    with pytest.raises(mc.EvaluationError, match=r"(?s)matched to 'rows'"):
        evaluate_surface(point, network_model, [TensorTask("t", {})], filters="rows")
    for wrong in ({"radius": 0.0}, {"radius": float("nan")}, {"num_points": 1}):
        with pytest.raises(mc.EvaluationError, match=r"(?s)no grid around.*radius above 0.*got: radius=.*remedy"):
            evaluate_surface(point, network_model, [TensorTask("t", {})], **wrong)
    with pytest.raises(mc.EvaluationError, match="there is no task"):
        evaluate_surface(point, network_model, [])
    with pytest.raises(mc.ModelError, match="net"):
        evaluate_surface(point, place_model(lambda place: place.sum(1)), [no_task()])
