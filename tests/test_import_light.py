"""What must answer at once loads nothing heavy."""

import subprocess
import sys
import time

import pytest

from modeconn.cli.main import COMMANDS

HEAVY = ("torch", "transformers", "peft", "matplotlib", "seaborn", "pandas", "numpy", "scipy", "datasets")
REPORT = (
    "import sys; code = {code}; loaded = sorted(set({heavy!r}) & set(sys.modules)); "
    "sys.exit(code if not loaded else 'loaded ' + ', '.join(loaded))"
)


def run(statement):
    """Runs a Python expression in a fresh process; its value is the exit code, 1 if it loaded what is heavy."""
    before, _, expression = statement.rpartition(";")
    script = (before + ";" if before else "") + REPORT.format(code=expression, heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize(
    "module", ["modeconn", "modeconn.errors", "modeconn.runs", "modeconn.plotting", "modeconn.tasks"]
)
def test_imports_are_light(module):
    done = run(f"import {module}; 0")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["--no-such"], ["trian"]])
def test_the_command_itself_is_light(arguments):
    done = run(f"from modeconn.cli.main import main; main({arguments!r})")
    assert "loaded" not in done.stderr
    assert done.returncode == (0 if arguments in (["--help"], ["--version"]) else 2)


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_of_each_command_is_light(verb):
    done = run(f"from modeconn.cli.main import main; main([{verb!r}, '--help'])")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: modeconn {verb} ")


def test_help_answers_in_half_a_second():
    def seconds():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "modeconn.cli.main", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5  # the best of three: other work may slow one down


def test_the_check_sees_what_is_loaded():
    assert run("import numpy; 0").stderr == "loaded numpy\n"
