"""A permuted copy is matched back exactly, and nothing that is matched gets further apart."""

from itertools import permutations, product

import pytest
import torch
from symmetric import MODELS, make_model, outputs, state_of
from torch.nn.functional import cross_entropy

from modeconn.adapters.symmetry import Block, Group, SymmetrySpec, apply, match, random_permutations, symmetry_of
from modeconn.evaluation.barrier import barrier


@pytest.mark.parametrize("name", MODELS)
def test_a_permuted_copy_is_matched_back_exactly(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    drawn = random_permutations(spec, seed=1)
    target = apply(drawn, state, spec)
    found = match(state, to=target, spec=spec)
    assert all(torch.equal(found.permutations[group], drawn[group]) for group in drawn)
    assert all(torch.equal(found.state[key], target[key]) for key in target)
    assert found.distance_before > 1
    assert found.distance_after == 0


@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "bert", "t5", "vit"])
def test_a_noisy_permuted_copy_is_matched_back(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    drawn = random_permutations(spec, seed=2)
    target = with_noise(apply(drawn, state, spec), spec, size=0.02)
    found = match(state, to=target, spec=spec)
    assert all(torch.equal(found.permutations[group], drawn[group]) for group in drawn)
    noise = sum((target[key] - apply(drawn, state, spec)[key]).square().sum() for key in spec.parameters) ** 0.5
    assert found.distance_after == pytest.approx(float(noise))


def with_noise(state, spec, *, size):
    """A state with Gaussian noise on every parameter; its tied copies follow."""
    generator = torch.Generator().manual_seed(0)
    noisy = {
        name: state[name] + size * torch.randn(state[name].shape, generator=generator, dtype=torch.float64)
        for name in spec.parameters
    }
    return noisy | {copy: noisy[source] for copy, source in spec.ties if copy in state}


@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "bert", "t5"])
def test_the_barrier_to_a_permuted_copy_is_gone_after_matching(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    target = apply(random_permutations(spec, seed=3), state, spec)
    labels = outputs(model).argmax(dim=-1)  # what the model itself says: its loss is low at both ends
    t = torch.linspace(0, 1, 5, dtype=torch.float64)

    def height(start):
        states = [{key: torch.lerp(start[key], target[key], weight) for key in target} for weight in t]
        logits = [outputs(model, point) for point in states]
        return barrier(t, [float(cross_entropy(x.flatten(0, -2), labels.flatten())) for x in logits]).height

    assert height(state) > 0.2
    assert height(match(state, to=target, spec=spec).state) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["llama-grouped", "bert-masked", "t5"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_objective_never_falls_between_sweeps(name, seed):
    model, other = make_model(name), make_model(name, seed=seed)
    spec = symmetry_of(model.config, model.state_dict())
    found = match(state_of(model), to=state_of(other), spec=spec)
    assert len(found.objectives) > 1
    assert all(later >= earlier for earlier, later in zip(found.objectives, found.objectives[1:], strict=False))
    assert found.distance_after < found.distance_before


def test_the_last_objective_gives_the_distance():
    model, other = make_model("llama"), make_model("llama", seed=1)
    first, second = state_of(model), state_of(other)
    spec = symmetry_of(model.config, first)
    found = match(first, to=second, spec=spec)
    moving = [block.parameter for block in spec.blocks]
    norms = sum(float(state[name].square().sum()) for state in (first, second) for name in moving)
    assert found.distance_after**2 == pytest.approx(norms - 2 * found.objectives[-1])


def test_checkpoints_near_each_other_are_left_as_they_are():
    model = make_model("gpt2")
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    found = match(state, to=with_noise(state, spec, size=0.01), spec=spec)
    assert (found.report["moved"] == 0).all()
    assert found.distance_after == found.distance_before


def test_nested_groups_are_solved_as_well_as_by_trying_all():
    generator = torch.Generator().manual_seed(4)
    spec = SymmetrySpec(
        (Group("heads", 3), Group("dims", 3, within="heads")),
        (Block("value", (("heads", "dims"), (4,))), Block("output", ((4,), ("heads", "dims")))),
    )
    first, second = (
        {"value": torch.randn(9, 4, generator=generator), "output": torch.randn(4, 9, generator=generator)}
        for _ in range(2)
    )
    found = match(first, to=second, spec=spec)
    inner = list(permutations(range(3)))
    best = min(
        distance(apply({"heads": torch.tensor(outer), "dims": torch.tensor(dims)}, first, spec), second)
        for outer in permutations(range(3))
        for dims in product(inner, repeat=3)
    )
    assert found.distance_after == pytest.approx(best)


def distance(first, second):
    return float(sum((first[key].double() - second[key].double()).square().sum() for key in first)) ** 0.5


def test_a_group_on_two_axes_of_one_matrix_is_matched():
    generator = torch.Generator().manual_seed(0)
    spec = SymmetrySpec((Group("units", 6),), (Block("square", (("units",), ("units",))), Block("bias", (("units",),))))
    state = {"square": torch.randn(6, 6, generator=generator), "bias": torch.arange(6.0)}
    drawn = random_permutations(spec, seed=1)
    found = match(state, to=apply(drawn, state, spec), spec=spec)
    assert torch.equal(found.permutations["units"], drawn["units"])


def test_the_report_says_what_each_group_gained():
    spec = SymmetrySpec(
        (Group("first", 3), Group("second", 2)),
        (Block("a", (("first",), (1,))), Block("b", (("second",), ("first",))), Block("c", ((2,),))),
    )
    state = {"a": torch.tensor([[1.0], [2.0], [4.0]]), "b": torch.tensor([[8.0, 16.0, 0.0], [0.0, 1.0, 0.0]])}
    state["c"] = torch.zeros(2)
    target = apply({"first": torch.tensor([0, 2, 1])}, state, spec) | {"c": torch.tensor([3.0, 4.0])}
    found = match(state, to=target, spec=spec)
    rows = found.report.to_dict("records")
    assert rows[0] == pytest.approx(
        {"group": "first", "size": 3, "num_tensors": 2, "moved": 2 / 3, "distance_after": 0.0}
        | {"distance_before": (2 * 4 + 2 * 256 + 2) ** 0.5}
    )
    assert (rows[1]["num_tensors"], rows[1]["moved"], rows[1]["distance_after"]) == (1, 0.0, 0.0)
    assert (found.distance_before, found.distance_after) == (pytest.approx((522 + 25) ** 0.5), 5.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_permuted_tensors_keep_dtype_and_bits(dtype):
    model = make_model("llama-grouped")
    state = {name: tensor.to(dtype) for name, tensor in state_of(model).items()}
    spec = symmetry_of(model.config, state)
    drawn = random_permutations(spec, seed=1)
    target = apply(drawn, state, spec)
    assert all(target[key].dtype == dtype for key in target)
    assert found_bits(match(state, to=target, spec=spec).state, target)


def found_bits(first, second):
    return all(torch.equal(first[key], second[key]) for key in second)


def test_the_models_that_are_matched_are_not_changed():
    model, other = make_model("bert"), make_model("bert", seed=1)
    first, second = state_of(model), state_of(other)
    match(first, to=second, spec=symmetry_of(model.config, first))
    assert found_bits(first, model.state_dict())
    assert found_bits(second, other.state_dict())
