"""Curvature of tasks' losses by `modeconn geometry --tasks`."""

from contextlib import redirect_stdout
from io import StringIO

import pytest

import modeconn as mc
from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")

FEW = [
    "--second-order.num-examples", "4", "--second-order.num-probes", "2", "--second-order.max-products", "2",
    "--second-order.max-steps", "1", "--num-points", "3", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def sources(adapters):
    return [str(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def pair(sources, task_folders):
    """The arguments of a measurement of two adapters, its output folder left out; not to be changed."""
    return ["geometry", "--adapters", *sources[:2], "--tasks", *task_folders, *FEW]


@pytest.fixture(scope="module")
def measured(svg_only, pair, tmp_path_factory):  # noqa: ARG001
    """The run folder of that measurement, not to be changed, and what was printed."""
    out, printed = tmp_path_factory.mktemp("measured") / "out", StringIO()
    with redirect_stdout(printed):
        assert main([*pair, "--output-dir", str(out)]) == 0
    return out, printed.getvalue()


def test_two_adapters_leave_points_and_a_line(pair, measured, capsys, monkeypatch):
    out, printed = measured
    assert "curvature of the loss in the adapter's own coordinates, test split, nats" in printed
    assert "At llama-1 the loss of first is" in printed
    assert "Along llama-1 -> llama-2 (space=weights) the loss of second" in printed
    assert read_csv(out / "second_order.csv")[["point", "task"]].to_numpy().tolist() == [
        ["llama-1", "first"], ["llama-1", "second"], ["llama-2", "first"], ["llama-2", "second"]
    ]  # fmt: skip
    assert read_csv(out / "curvature.csv").groupby("task")["t"].apply(list).tolist() == [[0.0, 0.5, 1.0]] * 2
    assert {"second-order", "curvature", "spectra"} <= {path.stem for path in (out / "figures").iterdir()}
    assert {"base model", "task first", "task second", "adapter llama-1"} <= read_record(out).hashes.keys()
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
    assert main([*pair, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == printed


def test_of_three_adapters_there_is_no_line(sources, task_folders, tmp_path):
    arguments = ["geometry", "--adapters", *sources, "--tasks", task_folders[0], *FEW[:-3], "--quiet"]
    chosen = ["--second-order.measures", "extremes", "--output-dir", str(tmp_path / "out")]
    assert main([*arguments, *chosen]) == 0
    assert not (tmp_path / "out" / "curvature.csv").exists()
    found = read_csv(tmp_path / "out" / "second_order.csv")
    assert len(found) == 3
    assert found["trace"].isna().all()


def test_an_interrupted_run_goes_on_with_what_was_finished(pair, measured, tmp_path, monkeypatch):
    from modeconn.evaluation import second_order

    measure, done = second_order._measured, []

    def stopping(loss, settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(measure(loss, settings))
        return done[-1]

    monkeypatch.setattr(second_order, "_measured", stopping)
    assert main([*pair, "--output-dir", str(tmp_path / "out")]) == 130
    monkeypatch.setattr(second_order, "_measured", lambda *given: done.append(measure(*given)) or done[-1])
    assert main([*pair, "--output-dir", str(tmp_path / "out")]) == 0
    assert len(done) == 4
    resumed, straight = ((out / "second_order.csv").read_bytes() for out in (tmp_path / "out", measured[0]))
    assert resumed == straight


def test_a_dry_run_tells_the_cost_and_writes_nothing(pair, tmp_path, capsys):
    assert main([*pair, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "Hessian products a point" in told
    assert "dry run: curvature along llama-1 -> llama-2, test split" in told
    assert "at most on cpu" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--split", "validation"], "has no split 'validation'"),
        (["--num-points", "2"], "no curvature from so few positions"),
        (["--second-order.box", "0"], "got: box=0"),
        (["--second-order.measures", "trace", "--second-order.num-probes", "1"], "got: num_probes=1"),
    ],
)
def test_bad_input_is_told_before_a_model_is_loaded(pair, tmp_path, capsys, monkeypatch, extra, message):
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)
    assert main([*pair, *extra, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert all(part in told for part in ("expected: ", "got: ", "remedy: "))
    assert not (tmp_path / "out").exists()


def test_half_precision_is_remarked_on(sources, task_folders, tmp_path, capsys):
    arguments = ["geometry", "--adapters", sources[0], "--tasks", task_folders[0], *FEW[:-3], "--dtype", "bfloat16"]
    assert main([*arguments, "--output-dir", str(tmp_path / "out")]) == 0
    assert "note: second derivatives of a bfloat16 model carry its rounding" in capsys.readouterr().err


def test_settings_without_tasks_are_refused(sources, tmp_path, capsys):
    plain = ["geometry", "--adapters", sources[0], "--output-dir", str(tmp_path / "out")]
    assert main([*plain, "--second-order.num-probes", "8", "--dtype", "float64"]) == 1
    assert "got: --dtype, --second-order\n" in capsys.readouterr().err


def test_updates_without_factors_are_refused_before_the_work(adapters, bases, task_folders, tmp_path, capsys):
    dora = str(adapters("llama", 1, use_dora=True))
    given = ["--base-model", str(bases("llama")), "--tasks", task_folders[0], "--output-dir", str(tmp_path / "out")]
    assert main(["geometry", "--adapters", dora, *given]) == 1
    told = capsys.readouterr().err
    assert "cannot be differentiated in its own coordinates" in told
    assert "remedy: " in told
    assert not (tmp_path / "out").exists()


def test_the_table_is_the_librarys(measured, sources, task_folders):
    point = mc.Adapter.from_pretrained(sources[0])
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    loss = mc.LocalLoss.at(point, model, mc.Task.load(task_folders[0]), max_examples=4)
    found = mc.hessian_trace(loss, num_probes=2)
    row = read_csv(measured[0] / "second_order.csv").iloc[0]
    assert (row["trace"], row["trace_error"]) == pytest.approx((found.value, found.error), rel=1e-5)
