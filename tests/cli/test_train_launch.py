"""Training in two processes makes the steps of one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import modeconn as mc
from modeconn.cli.main import main
from modeconn.runs import read_csv

METHOD = ["--method", "ilora", "--method-options", '{"buffer_size": 16, "decay": 0.9, "consistency_weight": 0.5}']


def launched(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line run in two processes, in a folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "modeconn", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240)


@pytest.fixture
def train(bases: Callable[[str], Path], task_folders: list[str]) -> list[str]:
    """The arguments of a training run, its output folder left out."""
    settings = ["--num-train-epochs", "1", "--rank", "2", "--learning-rate", "0.02", "--quiet"]
    return ["train", "--base-model", str(bases("llama")), "--tasks", *task_folders, *settings]


def test_two_processes_make_the_steps_of_one(train, tmp_path):
    command = [*train, *METHOD, "--per-device-train-batch-size", "7", "--gradient-accumulation-steps", "1"]
    together = launched([*command, "--output-dir", "two"], tmp_path)
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("score matrix") == 1
    assert main([*command, "--output-dir", str(tmp_path / "one")]) == 0
    tables = [read_csv(tmp_path / run / "scores.csv") for run in ("one", "two")]
    keys = ["method", "adapter", "seed", "after_task", "task", "metric"]
    pd.testing.assert_frame_equal(tables[0][keys], tables[1][keys])
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], atol=1e-4)
    for name in ("after-2-second", "after-2-second-fast"):
        one, two = (mc.Adapter.from_pretrained(tmp_path / run / name) for run in ("one", "two"))
        assert (one - two).norm() < 1e-4 * one.norm()
    losses = [pd.read_json(tmp_path / run / "losses.jsonl", lines=True) for run in ("one", "two")]
    np.testing.assert_allclose(losses[0]["loss"], losses[1]["loss"], rtol=1e-4)
    np.testing.assert_allclose(losses[0]["penalty"].dropna(), losses[1]["penalty"].dropna(), rtol=1e-3)
