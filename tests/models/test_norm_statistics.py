"""Running statistics are those of the training inputs at the present weights, and a module's own come back."""

import pytest
import torch
from torch import nn

from modeconn.models.norm_statistics import is_statistic, own_statistics, running_norms, statistics_of

SHAPES = {
    nn.BatchNorm1d: (12, 3, 5),
    nn.BatchNorm2d: (12, 3, 4, 4),
    nn.InstanceNorm1d: (12, 3, 5),
    nn.InstanceNorm2d: (12, 3, 4, 4),
}


def inputs_of(kind):
    return torch.randn(SHAPES[kind], generator=torch.Generator().manual_seed(0)) * 3 + 1


def made(kind, **settings):
    options = {} if "Batch" in kind.__name__ else {"track_running_stats": True}
    return nn.Sequential(kind(3, affine=True, **options, **settings)).eval()


def state(module):
    return [(name, id(value), value.clone()) for name, value in module.state_dict(keep_vars=True).items()]


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_they_are_the_plain_mean_over_batches(kind):
    module, inputs = made(kind), inputs_of(kind)
    with statistics_of(module, inputs, batch_size=4):
        found = module[0].running_mean.clone(), module[0].running_var.clone()
    rows = inputs.reshape(3, 4, 3, -1)  # batches, examples, channels, places
    instance = "Instance" in kind.__name__
    flat = rows.transpose(1, 2).reshape(3, 3, -1)  # of batch norm, examples and places count as one
    means = rows.mean(-1).mean(1) if instance else flat.mean(-1)  # [batches, channels]
    variances = rows.var(-1).mean(1) if instance else flat.var(-1)
    torch.testing.assert_close(found[0], means.mean(0))
    torch.testing.assert_close(found[1], variances.mean(0))


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_afterwards_what_it_was(kind, fails):
    module, inputs = made(kind, momentum=0.3), inputs_of(kind)
    before, changed = state(module), []
    try:
        with statistics_of(module, inputs, batch_size=4):
            changed.append(not torch.equal(module[0].running_mean, before[2][2]))
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    with own_statistics(running_norms(module)):
        module(inputs)
    assert changed == [True]
    after = state(module)
    assert [entry[:2] for entry in after] == [entry[:2] for entry in before]
    assert all(torch.equal(one[2], other[2]) for one, other in zip(after, before, strict=True))
    assert module[0].momentum == 0.3
    assert not module[0].training
    assert not module[0]._forward_pre_hooks


def test_a_norm_that_is_passed_twice_has_the_mean_over_both_passes():
    norm, inputs = nn.BatchNorm1d(3).eval(), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))

    class Twice(nn.Module):
        """One norm before a shift and after it."""

        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, rows):
            return self.norm(self.norm(rows) + 5)

    with statistics_of(Twice().eval(), inputs, batch_size=4):
        found = norm.running_mean.clone()
    torch.testing.assert_close(found, (inputs.mean(0) + 5) / 2)


def test_norms_without_running_statistics_have_nothing_to_make():
    module = nn.Sequential(nn.InstanceNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False), nn.GroupNorm(1, 3))
    assert running_norms(module) == []


def test_statistics_are_told_from_other_buffers():
    module = made(nn.InstanceNorm1d)
    module.register_buffer("table", torch.zeros(2))
    assert [name for name, _ in module.named_buffers() if not is_statistic(module, name)] == ["table"]
