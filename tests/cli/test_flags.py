"""A settings dataclass makes flags, a YAML file and help; wrong usage is told in the words of the command line."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from modeconn.cli.flags import parse_settings
from modeconn.errors import RunError


@dataclass(frozen=True)
class Method:
    decay: float = 0.9
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    adapters: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "ADAPTER", "help": "folders"})
    tasks: tuple[str, ...] = field(metadata={"metavar": "DIR"})
    output_dir: str = "runs/x"
    space: Literal["weights", "factors"] = field(default="weights", metadata={"help": "100% of them"})
    dtype: Literal["float32", "bfloat16"] | None = None
    learning_rate: float = 1e-4
    num_points: int = 21
    num_examples: int | None = None
    points: list[float] | None = None
    tolerance: float | Literal["auto"] = "auto"
    method: Method = field(default_factory=lambda: Method(decay=0.5))
    shuffle: bool = True
    dry_run: bool = False
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.num_points < 2:
            raise RunError("cannot sample a path", expected="2 points or more", got="1", remedy="give more")


NEEDED = ("a", "--tasks", "t")


def parsed(*arguments, settings=Settings):
    return parse_settings(settings, arguments, prog="modeconn x", description="Does 100% of x.")


def refused(capsys, *arguments, settings=Settings):
    """What stderr says of a command line, once the exit code is found to be 2."""
    with pytest.raises(SystemExit, match="2"):
        parsed(*arguments, settings=settings)
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


@pytest.fixture
def config(tmp_path):
    """Writes a YAML file and gives the arguments that name it."""

    def written(text):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return "--config", str(path)

    return written


def test_defaults_are_those_of_the_dataclass():
    assert parsed(*NEEDED) == Settings(adapters=(Path("a"),), tasks=("t",))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--output-dir out", {"output_dir": "out"}),
        ("--output-dir 123", {"output_dir": "123"}),
        ("--space factors", {"space": "factors"}),
        ("--dtype bfloat16", {"dtype": "bfloat16"}),
        ("--learning-rate 1e-3", {"learning_rate": 1e-3}),
        ("--num-points=5", {"num_points": 5}),
        ("--num-examples 7", {"num_examples": 7}),
        ("--num-examples null", {"num_examples": None}),
        ("--points 0 0.5 1", {"points": [0.0, 0.5, 1.0]}),
        ("--tolerance auto", {"tolerance": "auto"}),
        ("--tolerance 0.1", {"tolerance": 0.1}),
        ("--method.decay 0.99", {"method": Method(decay=0.99)}),
        ("--method.layers 1 2", {"method": Method(decay=0.5, layers=(1, 2))}),
        ("--no-shuffle --dry-run", {"shuffle": False, "dry_run": True}),
        ('--rates {"a":1}', {"rates": {"a": 1.0}}),
    ],
)
def test_each_kind_of_field_has_a_flag(arguments, expected):
    assert parsed(*NEEDED, *arguments.split()) == Settings(adapters=(Path("a"),), tasks=("t",), **expected)


def test_many_values_follow_one_flag_and_positionals_stand_alone():
    settings = parsed("a", "b", "--tasks", "null", "1", "[c]")
    assert settings.adapters == (Path("a"), Path("b"))
    assert settings.tasks == ("null", "1", "[c]")


def test_debug_and_quiet_are_taken_by_every_command():
    assert parsed(*NEEDED, "--debug", "--quiet") == parsed(*NEEDED)


def test_quiet_reaches_settings_that_have_it():
    @dataclass(frozen=True)
    class Quiet:
        quiet: bool = False

    assert parsed("--quiet", settings=Quiet) == Quiet(quiet=True)


def test_a_single_positional():
    @dataclass(frozen=True)
    class Study:
        file: str = field(metadata={"positional": True})

    assert parsed("study.yaml", settings=Study) == Study("study.yaml")


def test_annotations_may_be_strings():
    @dataclass(frozen=True)
    class Late:
        seed: "int | None" = None

    assert parsed("--seed", "3", settings=Late) == Late(3)


def test_help_shows_flags_types_and_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Does 100% of x." in text
    for part in (
        "ADAPTER folders (required)",
        "--tasks DIR [DIR ...] (required)",
        "--space {weights,factors} 100% of them (default: weights)",
        "--num-examples INT (default: null)",
        "--learning-rate FLOAT (default: 0.0001)",
        "--shuffle, --no-shuffle (default: yes)",
        "--output-dir TEXT folder of the run; made if it does not exist (default: runs/x)",
        "--method.decay FLOAT (default: 0.5)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--num-points 1.5", "--num-points: expected INT, got 1.5"),
        ("--num-examples x", "--num-examples: expected INT or null, got x"),
        ("--space sideways", "--space: expected {weights,factors}, got sideways"),
        ("--points 0 x", "--points: expected FLOAT, got x"),
        ("--method.decay x", "--method.decay: expected FLOAT, got x"),
        ("--num-pionts 3", "unknown argument --num-pionts; did you mean --num-points?"),
        ("--num-pionts=3", "unknown argument --num-pionts; did you mean --num-points?"),
        ("--num-point 3", "unknown argument --num-point; did you mean --num-points?"),
        ("--zzz", "unknown argument --zzz\n"),
        ("--num-points", "--num-points: expected one argument"),
    ],
)
def test_wrong_flags_are_told_in_their_own_words(capsys, arguments, told):
    text = refused(capsys, *NEEDED, *arguments.split())
    assert text.startswith("modeconn x: error: ")
    assert told in text
    assert text.endswith("  help: modeconn x --help\n")


def test_missing_values_are_named(capsys):
    assert "missing: --tasks\n" in refused(capsys, "a")
    assert "missing: ADAPTER (folders)\n" in refused(capsys, "--tasks", "t")


def test_errors_of_the_dataclass_pass_through():
    with pytest.raises(RunError, match="expected: 2 points or more"):
        parsed(*NEEDED, "--num-points", "1")


def test_a_file_gives_values_and_flags_win(config):
    file = config("adapters: [z]\ntasks: [u]\nnum_points: 5\nlearning_rate: 1e-3\nmethod:\n  decay: 0.1\n")
    assert parsed(*file) == Settings(
        adapters=(Path("z"),), tasks=("u",), num_points=5, learning_rate=1e-3, method=Method(decay=0.1)
    )
    settings = parsed("a", *file, "--tasks", "t", "--num-points", "7", "--method.decay", "0.2")
    assert settings == Settings(
        adapters=(Path("a"),), tasks=("t",), num_points=7, learning_rate=1e-3, method=Method(decay=0.2)
    )


def test_a_bare_number_in_the_file_is_a_list_of_one(config):
    settings = parsed(*NEEDED, *config("points: 0.5\nmethod:\n  layers: 3\n"))
    assert (settings.points, settings.method.layers) == ([0.5], (3,))


@pytest.mark.parametrize("text", ["", "# nothing\n", "num_examples:\n", "method.decay: 0.5\n", "shuffle: true\n"])
def test_sparse_files_are_files(config, text):
    assert parsed(*NEEDED, *config(text)) == parsed(*NEEDED)


def test_the_file_may_be_given_with_an_equals_sign(config):
    name, path = config("num_points: 5\n")
    assert parsed(*NEEDED, f"{name}={path}").num_points == 5


def test_flags_switch_off_what_the_file_switches_on(config):
    assert parsed(*NEEDED, *config("dry_run: true\n"), "--no-dry-run").dry_run is False


def test_unknown_keys_are_refused_with_the_known_ones(config, capsys):
    text = refused(capsys, *NEEDED, *config("num_pionts: 5\nmethod: {decya: 1}\n"))
    assert "unknown setting method.decya; did you mean method.decay?" in text
    assert "unknown setting num_pionts; did you mean num_points?" in text
    assert re.search(r"known: adapters, .*method\.decay, .*tolerance", text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("num_points: x", "--num-points: expected INT, got x"),
        ("num_points: null", "num_points: expected INT, got null"),
        ("space: x", "--space: expected {weights,factors}, got x"),
        ("points: [0, x]", "--points: expected FLOAT, got x"),
        ("tasks: t", "tasks: expected a list of DIR, got 't'"),
        ("tasks: [1]", "tasks: expected text, got 1; quote it"),
        ("tasks: 1", "tasks: expected a list of DIR, got 1"),
        ("points: x", "--points: expected FLOAT, got x"),
        ("points: true", "points: expected a list of FLOAT, got True"),
        ("dry_run: 'yes'", "dry_run: expected true or false, got 'yes'"),
        ("method: 3", "unknown setting method"),
        ("[1]", "expected settings by name, got a list"),
        ("[1", "no YAML: while parsing"),
    ],
)
def test_wrong_values_in_the_file_are_refused(config, capsys, content, told):
    assert told in refused(capsys, *NEEDED, *config(content))


def test_a_missing_file_is_refused(tmp_path, capsys):
    path = tmp_path / "no.yaml"
    assert f"--config {path}: No such file or directory" in refused(capsys, *NEEDED, "--config", str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    path = tmp_path / "no.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    assert f"--config {path}: 'utf-8' codec" in refused(capsys, *NEEDED, "--config", str(path))
