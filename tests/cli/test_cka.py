"""The command that compares representations: two checkpoints, a path, a run, and what is refused."""

import pytest

import modeconn as mc
from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

FIGURE = ("pdf", "svg", "png", "csv")


@pytest.fixture
def sources(adapters):
    return [str(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture
def between(sources, task_folders):
    """The arguments of a comparison of two checkpoints, its output folder left out."""
    small = ["--num-points", "3", "--num-permutations", "20", "--num-resamples", "50", "--pooling", "mean", "--quiet"]
    return ["cka", "--start", sources[0], "--end", sources[1], "--tasks", *task_folders, *small]


def files(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def figures(*names):
    return {f"figures/{name}.{ending}" for name in names for ending in FIGURE}


def test_two_checkpoints_leave_a_complete_run_folder(between, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert main([*between, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "CKA (debiased) with llama-1, test split, mean pooling" in printed
    assert "note: first: only 22 examples: the intervals are rough" in printed
    assert files(out) == {"run.json", "cka.csv", "layers.csv"} | figures("layers", "along-path")
    layers, along = read_csv(out / "layers.csv"), read_csv(out / "cka.csv")
    assert len(layers) == 2 * 3 * 3
    assert len(along) == 2 * 3 * 3
    assert layers["p_value"].notna().all()
    own = layers[layers["layer"] == layers["layer_reference"]]
    assert along[along["t"] == 1]["cka"].to_numpy() == pytest.approx(own["cka"].to_numpy(), abs=1e-9)
    record = read_record(out)
    assert {"base model", "task first", "adapter llama-2"} <= record.hashes.keys()
    assert record.facts["checks"]["first"]["agree_with_peft_within"].keys() == {"llama-1", "llama-2"}
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
    assert main([*between, "--output-dir", str(out)]) == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert again.err == f"finished before, shown again: {out}\n"


def test_against_the_base_there_is_a_difference_too(between, tmp_path):
    assert main([*between, "--reference", "base", "--output-dir", str(tmp_path / "out")]) == 0
    assert figures("layers", "along-path", "difference") <= files(tmp_path / "out")
    pairs = read_csv(tmp_path / "out" / "layers.csv")[["point", "reference"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["llama-2", "llama-1"], ["llama-1", "base"], ["llama-2", "base"]]
    assert set(read_csv(tmp_path / "out" / "cka.csv")["reference"]) == {"base"}


def test_a_curve_is_followed(sources, between, tmp_path):
    start, bend, end = (mc.Adapter.from_pretrained(source) for source in sources)
    curve = mc.save_path(mc.BezierCurve([start, bend, end], name="arc"), tmp_path / "curve")
    arguments = [
        "cka",
        "--path",
        str(curve),
        *between[between.index("--tasks") :],
        "--output-dir",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    middle = read_csv(tmp_path / "out" / "cka.csv").query("t == 0.5")["point"].unique().tolist()
    assert middle == ["arc at t=0.5"]


def test_a_run_drifts(sources, between, tmp_path, capsys):
    arguments = ["cka", "--points", *sources, *between[between.index("--tasks") :]]
    assert main([*arguments, "--output-dir", str(tmp_path / "out"), "--reference", "previous"]) == 0
    assert files(tmp_path / "out") == {"run.json", "drift.csv"} | figures("drift")
    frame = read_csv(tmp_path / "out" / "drift.csv")
    assert frame.groupby("step")["reference"].first().tolist() == ["base", "llama-1", "llama-2"]
    assert "CKA (debiased) with the checkpoint before" in capsys.readouterr().out


def test_sites_and_minibatches_are_set(between, tmp_path):
    chosen = ["--sites", "mlp", "layers.0", "--pooling", "all-tokens", "--num-examples", "20", "--minibatch-size", "4"]
    assert main([*between, *chosen, "--output-dir", str(tmp_path / "out")]) == 0
    frame = read_csv(tmp_path / "out" / "cka.csv")
    assert set(frame["layer"]) == {"layers.0", "layers.0.mlp", "layers.1.mlp"}
    assert (frame["num_examples"] == 20).all()
    assert (frame["num_rows"] > 100).all()
    assert "no permutation null (null_high, p_value): it needs" in read_record(tmp_path / "out").facts["remarks"][-1]


def test_a_dry_run_writes_nothing(between, tmp_path, capsys):
    assert main([*between, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "MiB" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--points", "a", "b"], "it is not said which checkpoints are compared"),
        (["--reference", "previous"], "there is no previous to compare with"),
        (["--num-points", "1"], "too few points on the path"),
        (["--num-examples", "3"], "got: num_examples=3"),
        (["--seed", "-1"], "got: seed=-1"),
        (["--sites", "embedding", "--pooling", "last-token"], "constant features at embedding"),
        (["--sites", "layers.9"], "the model has no layer 'layers.9'"),
        (["--split", "eval"], "has no split 'eval'"),
        (["--start", "no-such-adapter"], "cannot read the adapter"),
    ],
)
def test_bad_input_ends_with_1_and_four_parts(between, tmp_path, capsys, extra, message):
    assert main([*between, "--output-dir", str(tmp_path / "out"), *extra]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert all(part in told for part in ("expected: ", "got: ", "remedy: "))
    assert not (tmp_path / "out" / "cka.csv").exists()


@pytest.mark.usefixtures("svg_only")
def test_one_checkpoint_is_compared_with_its_base(sources, between, tmp_path):
    arguments = ["cka", "--points", sources[0], *between[between.index("--tasks") :]]
    assert main([*arguments, "--output-dir", str(tmp_path / "out")]) == 0
    written = {"drift.csv", "layers.csv", "figures/drift.svg", "figures/layers.svg"}
    assert written <= files(tmp_path / "out")
    drift, layers = (read_csv(tmp_path / "out" / name) for name in ("drift.csv", "layers.csv"))
    assert set(layers["reference"]) == {"base"}
    own = layers[layers["layer"] == layers["layer_reference"]]
    assert drift["cka"].to_numpy() == pytest.approx(own["cka"].to_numpy(), abs=1e-9)
    assert layers["p_value"].notna().all()
    assert main([*arguments, "--output-dir", str(tmp_path / "dry"), "--dry-run"]) == 0


def test_one_end_or_a_point_without_another_is_not_enough(sources, task_folders, tmp_path, capsys):
    rest = ["--tasks", *task_folders, "--output-dir", str(tmp_path / "out")]
    first = ["--points", sources[0], "--reference", "first"]
    for given, told in (["--start", sources[0]], "1 ends"), (first, "no first to compare with"):
        assert main(["cka", *given, *rest]) == 1
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "before", "kept"), [((), 4, 2), (("--minibatch-size", "4"), 3, 3)])
def test_an_interrupted_comparison_goes_on_with_what_was_finished(between, tmp_path, monkeypatch, kind, before, kept):
    """Two readings for the layers, three along the path, whose start is the reference; both tasks read the same."""
    from modeconn.similarity import engine

    name = "_read" if kind else "activations"
    read, count = getattr(engine, name), []

    def stopping_at(most):
        def counted(*given, **options):
            if len(count) == most:
                raise KeyboardInterrupt
            count.append(1)
            return read(*given, **options)

        return counted

    def code(out, most):
        count.clear()
        monkeypatch.setattr(engine, name, stopping_at(most))
        return main([*between, *kind, "--output-dir", str(tmp_path / out)])

    assert code("straight", 100) == 0
    assert len(count) == 5
    assert code("out", before) == 130
    assert code("out", 100) == 0
    assert len(count) == kept
    for table in ("layers.csv", "cka.csv"):
        assert (tmp_path / "out" / table).read_bytes() == (tmp_path / "straight" / table).read_bytes()


def test_other_settings_are_not_taken_for_finished(sources, task_folders):
    from modeconn.similarity.engine import sides_of
    from modeconn.similarity.keys import comparison_key

    points = [mc.Adapter.from_pretrained(source) for source in sources[:2]]
    model, task = mc.AdapterModel.from_pretrained(adapters=points), mc.Task.load(task_folders[0])

    def key(point=points[0], reference=None, *, matched=True, split="test", token_budget=64, **settings):
        chosen = mc.CKASettings(**settings)
        sides = sides_of(model, None, task, split=split, settings=chosen, encoding=None)
        return comparison_key(
            point, reference, sides, matched=matched, settings=chosen, token_budget=token_budget
        )  # fmt: skip

    plain, same = key(), key()
    others = [
        key(points[1]), key(None), key(reference=points[1]), key(matched=False), key(split="train"),
        key(token_budget=65), key(seed=1), key(pooling="mean"), key(num_examples=10),
    ]  # fmt: skip
    assert plain == same
    assert len({plain, *others}) == 10


def test_a_dry_run_tells_what_would_be_read(between, sources, tmp_path, capsys):
    def told(*arguments):
        assert main([*arguments, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
        rows = [line.rsplit("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line]
        return [cells[1] for cells in rows if cells[0].strip() == "readings of all prompts"]

    assert told(*between) == ["5", "5"]  # both ends for the layers; three positions, the first of which is the start
    assert told(*between, "--reference", "base") == ["10", "10"]
    rest = between[between.index("--tasks") :]
    assert told("cka", "--points", *sources, *rest) == ["4", "4"]
    assert told("cka", "--points", *sources, *rest, "--reference", "previous") == ["6", "6"]
    assert told("cka", "--points", *sources, *rest, "--reference", "first") == ["3", "3"]
    assert told(*between, "--minibatch-size", "4") == ["5", "5"]
