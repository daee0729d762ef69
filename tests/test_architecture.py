"""Who may import whom, and the house rules that a parser can check.

Imports under `TYPE_CHECKING` and inside functions count: who needs a type depends on it. A package may import what
the packages it is built on may import: layers, not a list of single arrows.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import modeconn

ROOT = Path(modeconn.__file__).parent
# Package or module -> what it is built on. A new folder gets its line here, on purpose.
BUILT_ON = {
    "errors": set(),
    "atomic": set(),
    "adapters": {"atomic"},
    "tasks": set(),
    "plotting": set(),
    "runs": {"atomic"},
    "paths": {"adapters"},
    "geometry": {"adapters"},
    "models": {"adapters", "tasks"},
    "evaluation": {"paths", "models", "tasks", "runs"},
    "fitting": {"evaluation"},
    "similarity": {"evaluation"},
    "continual": {"evaluation"},
    "reports": {"plotting"},
    "studies": {"fitting", "similarity", "geometry", "continual", "reports"},
    "cli": {"studies"},
    "__main__": {"cli"},
}
PUBLIC = "__init__"  # the package's own list of public names, which may name everything
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "manager", "handler", "factory", "misc"}
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 300, 60


def reachable(part: str) -> set[str]:
    """All that a part may import: itself, errors, and what it is built on, all the way down."""
    return {part, "errors"}.union(*(reachable(below) for below in BUILT_ON[part]))


def part_of(file: Path) -> str:
    """The package or top module that a file, relative to `modeconn/`, belongs to."""
    return file.parts[0] if len(file.parts) > 1 else file.stem


def imported_parts(file: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the part of modeconn of each import; `from modeconn import Adapter` counts as the public names."""
    package = ["modeconn", *file.parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = base + (node.module.split(".") if node.module else [])
            dotted = [[*stem, alias.name] for alias in node.names]
        else:
            continue
        for names in dotted:
            if names[0] == "modeconn" and names[1:] != ["__version__"]:
                yield node.lineno, names[1] if len(names) > 1 and names[1] in BUILT_ON else PUBLIC


def wrong_imports(file: Path, tree: ast.AST) -> Iterator[str]:
    """Imports that the layers forbid."""
    part = part_of(file)
    if part == PUBLIC:
        return
    if part not in BUILT_ON:
        yield f"{file}: {part} has no line in the table of layers"
        return
    for line, target in imported_parts(file, tree):
        if target not in reachable(part):
            yield f"{file}:{line}: {part} imports {target}"


def wrong_calls(file: Path, tree: ast.AST) -> Iterator[str]:
    """Calls that may run other people's code, and prints outside the command line."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "print" and part_of(file) != "cli":
            yield f"{file}:{node.lineno}: print outside cli"
        if called == "torch.load" and given.get("weights_only") != "True":
            yield f"{file}:{node.lineno}: torch.load without weights_only=True"
        if given.get("trust_remote_code", "False") != "False":
            yield f"{file}:{node.lineno}: trust_remote_code"


def wrong_sizes(file: Path, tree: ast.AST, source: str) -> Iterator[str]:
    """Files and functions that are too long; a docstring does not count as part of its function."""
    if (length := len(source.splitlines())) > MOST_LINES_OF_A_FILE:
        yield f"{file}: {length} lines"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                length -= (docstring.end_lineno or 0) - docstring.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                yield f"{file}:{node.lineno}: {node.name} has {length} lines"


def wrong_names(file: Path, tree: ast.AST) -> Iterator[str]:
    """Modules, folders and classes that are named after nothing."""
    for name in (*file.parts[:-1], file.stem):
        if FORBIDDEN_NAMES & set(name.lower().split("_")):
            yield f"{file}: a name that says nothing: {name}"
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if node.name.lower().endswith(tuple(FORBIDDEN_NAMES)):
            yield f"{file}:{node.lineno}: a name that says nothing: {node.name}"


def violations(file: Path, source: str) -> list[str]:
    """All that is wrong with one file of the package, its path relative to `modeconn/`."""
    tree = ast.parse(source)
    return [
        *wrong_imports(file, tree),
        *wrong_calls(file, tree),
        *wrong_sizes(file, tree, source),
        *wrong_names(file, tree),
    ]


def test_the_package_keeps_the_rules():
    files = sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.pyi")])
    assert len(files) > 10
    found = [wrong for file in files for wrong in violations(file.relative_to(ROOT), file.read_text(encoding="utf-8"))]
    assert found == []


def test_every_layer_stands_on_layers():
    assert set().union(*BUILT_ON.values()) <= BUILT_ON.keys()
    assert reachable("evaluation") == {"evaluation", "paths", "models", "tasks", "runs", "adapters", "atomic", "errors"}


@pytest.mark.parametrize(
    ("file", "source", "told"),
    [
        ("paths/line.py", "from modeconn.models.family import score", "paths/line.py:1: paths imports models"),
        ("paths/line.py", "\nfrom ..models import family", "paths/line.py:2: paths imports models"),
        ("paths/line.py", "from .. import tasks", "paths/line.py:1: paths imports tasks"),
        ("paths/line.py", "import modeconn.cli.main", "paths/line.py:1: paths imports cli"),
        ("paths/line.py", "from modeconn import Adapter", "paths/line.py:1: paths imports __init__"),
        ("paths/line.py", "import modeconn as mc", "paths/line.py:1: paths imports __init__"),
        ("paths/line.py", "def f():\n    from modeconn import runs", "paths/line.py:2: paths imports runs"),
        ("plotting/profile.py", "if TYPE_CHECKING:\n    import modeconn.runs", "profile.py:2: plotting imports runs"),
        ("studies/study.py", "from modeconn.cli import main", "studies/study.py:1: studies imports cli"),
        ("errors.py", "from modeconn.runs import RunFolder", "errors.py:1: errors imports runs"),
        ("novelty/a.py", "", "novelty/a.py: novelty has no line in the table of layers"),
        ("paths/line.py", "print('x')", "paths/line.py:1: print outside cli"),
        ("adapters/a.py", "torch.load(f)", "adapters/a.py:1: torch.load without weights_only=True"),
        ("adapters/a.py", "torch.load(f, weights_only=False)", "adapters/a.py:1: torch.load without"),
        ("models/a.py", "load(x, trust_remote_code=True)", "models/a.py:1: trust_remote_code"),
        ("models/a.py", "x\n" * 301, "models/a.py: 301 lines"),
        ("models/a.py", "def f():\n" + "    x\n" * 60, "models/a.py:1: f has 61 lines"),
        ("models/loading_utils.py", "", "a name that says nothing: loading_utils"),
        ("models/common/a.py", "", "a name that says nothing: common"),
        ("models/a.py", "class RunManager: ...", "models/a.py:1: a name that says nothing: RunManager"),
    ],
)
def test_a_violation_is_found(file, source, told):
    found = violations(Path(file), source)
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("paths/line.py", "from modeconn.adapters.adapter import Adapter\nfrom ..errors import PathError"),
        ("paths/line.py", "from . import path\nfrom .path import Path\nimport torch"),
        ("evaluation/gate.py", "from modeconn.adapters.adapter import Adapter"),
        ("cli/main.py", "from modeconn import __version__\nprint(__version__)"),
        ("__init__.pyi", "from .cli.main import main"),
        ("adapters/a.py", "torch.load(f, weights_only=True)\nload(x, trust_remote_code=False)"),
        ("models/a.py", "def f():\n    '''\n" + "    x\n" * 60 + "    '''\n"),
    ],
)
def test_what_is_allowed_passes(file, source):
    assert violations(Path(file), source) == []
