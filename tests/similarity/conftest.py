import pytest
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc


@pytest.fixture(scope="session")
def task():
    """Thirty prompts of random words."""
    return random_task(labels=LABELS, num_examples=30)


@pytest.fixture(scope="session")
def points(adapters):
    """Three adapters of a tiny llama."""
    return [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def model(points):
    return mc.AdapterModel.from_pretrained(adapters=points)
