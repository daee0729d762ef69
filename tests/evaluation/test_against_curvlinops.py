"""Products, trace and extreme eigenvalues against curvlinops' Hessian of the same module.

Skipped where it is not installed, and it is in no extra: it asks for torchvision by way of backpack, and the index's
torchvision beside a CPU build of torch breaks the import of transformers. Nothing here needs torchvision::

    pip install --no-deps curvlinops-for-pytorch==3.0.1 backpack-for-pytorch==1.7.1 linear_operator==0.6.1 \\
        einconv==0.1.0 einops==0.8.2 opt_einsum==3.4.0 unfoldNd==0.2.3
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

import modeconn as mc
from modeconn.evaluation.hessian import hessian_extremes, hessian_trace
from modeconn.evaluation.local_loss import LocalLoss

curvlinops = pytest.importorskip("curvlinops")
# Of linear_operator, which curvlinops is built on.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
NUM_CLASSES = 3


@pytest.fixture(scope="module")
def network():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, NUM_CLASSES)).double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator).float())  # a point is held in float32
    inputs = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    return module, inputs, torch.randint(NUM_CLASSES, (24,), generator=generator)


@pytest.fixture(scope="module")
def loss(network):
    module, inputs, targets = network
    point = mc.module_point(module)
    model = mc.ModuleModel(module, lambda outputs, wanted: functional.cross_entropy(outputs, wanted, reduction="none"))
    return LocalLoss.at(point, model, mc.TensorTask("toy", {"test": (inputs, targets)}), batch_size=5)


@pytest.fixture(scope="module")
def theirs(network, loss):
    """Their operator, its rows and columns in the order of the point's coordinates."""
    module, inputs, targets = network
    named = dict(module.named_parameters())
    parameters = [named[name] for name in loss.saved]
    return curvlinops.HessianLinearOperator(
        module, nn.CrossEntropyLoss(), parameters, [(inputs, targets)], check_deterministic=False
    )


def test_products(loss, theirs):
    direction = torch.randn(loss.num_parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(loss.product(direction), theirs @ direction, rtol=1e-9, atol=1e-12)


def test_extremes_and_trace(loss, theirs):
    dense = theirs @ torch.eye(loss.num_parameters, dtype=torch.float64)
    values = torch.linalg.eigvalsh((dense + dense.T) / 2)
    found = hessian_extremes(loss, tolerance=1e-8)
    assert found.top == pytest.approx(float(values[-1]), rel=1e-6)
    assert found.bottom == pytest.approx(float(values[0]), abs=found.bottom_error + 1e-9)
    own = hessian_trace(loss, num_probes=32, generator=torch.Generator().manual_seed(2))
    assert own.value == pytest.approx(float(dense.trace()), abs=4 * own.error)
    assert own.error < 0.1 * float(dense.trace())
