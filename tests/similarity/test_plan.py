"""What a dry run of a comparison tells."""

import pytest
from evaluation_tasks import make_task

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.similarity.plan import Comparing, plan_cka


@pytest.fixture(scope="module")
def model(adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", 1))
    return mc.AdapterModel.from_pretrained(adapters=[point])


def plan(model, *comparisons, **options):
    return plan_cka(None, model, make_task("first", 0), comparisons, **options)


def test_readings_and_comparisons_are_counted(model):
    settings = mc.CKASettings(pooling="mean", num_resamples=10, num_permutations=3)
    found = plan(
        model,
        Comparing(1, matched=False, settings=settings),
        Comparing(4, matched=True, settings=settings),
        num_references=2,
    )
    assert found["readings of all prompts"] == "7"
    assert found["comparisons of two sites"] == str(3 * 3 + 4 * 3)
    assert found["sites"] == "3 of 16 features"
    assert found["examples"] == "22"
    assert found["memory of the features"] == "0 MiB"
    assert found["time of comparing"].endswith(" at most")
    assert found["time of reading"].endswith(" on cpu")


def test_minibatches_are_compared_while_they_are_read(model):
    settings = mc.CKASettings(pooling="mean", minibatch_size=4)
    assert plan(model, Comparing(1, matched=True, settings=settings))["time of comparing"] == "within that of reading"


def test_what_would_stop_the_comparison_stops_the_plan(model):
    with pytest.raises(ModelError, match=r"the model has no layer 'layers.9'"):
        plan(model, Comparing(1, matched=True, settings=mc.CKASettings(sites="layers.9")))
    few = make_task("few", 0, num_examples=5)  # two of them are for training alone
    with pytest.raises(EvaluationError, match=r"(?s)too few examples.*got: 3"):
        plan_cka(None, model, few, [Comparing(1, matched=True, settings=mc.CKASettings())])
