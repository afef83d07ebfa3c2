"""The house as drawn in the design: who may import whom, where torch lives, and how big a room may grow."""

import ast
import functools
from pathlib import Path

import pytest

import pytest_trainstep

HOUSE = Path(pytest_trainstep.__file__).parent
FILES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py"))

# Every room, and the rooms of ours that it may import when it runs. Imports for type checkers do not count.
MAY_IMPORT = {
    "__init__": set(),  # the door opens rooms by name, when they are asked for
    "_devices": set(),
    "_errors": set(),
    "_events": set(),
    "_record": {"_events"},
    "_seeding": set(),
    "_settings": set(),
    "_torch_import": set(),
    "_heard": set(),
    "_faults": set(),
    "_planted": {"_faults"},
    "_diagnose": {"_events", "_heard", "_faults", "_planted", "_record"},
    "_watch": {"_errors", "_events", "_heard", "_planted", "_record"},
    "assertions": {"_diagnose", "_errors", "_events", "_faults", "_planted", "_record", "_settings", "_watch"},
    "optimizers": {"_diagnose", "_errors"},
    "strategies": {"_devices", "_errors", "_record", "_seeding", "_settings", "assertions"},
    "_hypothesis": set(),
    "_explain": {"_diagnose"},
    "_namespace": {"__init__"},
    "_options": {"_devices", "_seeding", "_settings"},
    "_recording": {"_diagnose", "_errors", "_settings", "_watch", "assertions"},
    "_report": {"_diagnose", "_heard", "_faults", "_planted"},
    "_audit": {"_diagnose", "_errors", "_heard", "_report", "_settings", "_torch_import", "_watch"},
    "_mutation": {"_audit", "_faults", "_planted", "_report", "_settings", "_torch_import", "_watch"},
    "plugin": {
        "_audit",
        "_mutation",
        "_recording",
        "_devices",
        "_explain",
        "_namespace",
        "_options",
        "_seeding",
        "_settings",
        "_torch_import",
        "_watch",
    },
}
TORCH_AT_THE_TOP = {"_watch", "assertions", "optimizers", "strategies"}
NO_TORCH_AT_ALL = {
    "_audit",
    "_diagnose",
    "_heard",
    "_faults",
    "_planted",
    "_mutation",
    "_hypothesis",
    "_report",
    "_events",
    "_record",
    "_settings",
    "_errors",
    "_namespace",
    "_options",
    "_explain",
    "_torch_import",
}
HEAVY = {"torch", "numpy", "hypothesis"}

LONGEST_FILE = 350
LONGEST_FUNCTION = 40
# (file, function): why it is longer.
LONG_FUNCTIONS: dict[tuple[str, str], str] = {}


def room(file):
    return Path(file).parts[0].removesuffix(".py")


@functools.cache  # nodes are told apart by identity
def tree(file):
    return ast.parse(HOUSE.joinpath(file).read_text())


def runtime_nodes(node):
    """Everything below that runs: bodies of `if TYPE_CHECKING` are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from runtime_nodes(other)
        else:
            yield child
            yield from runtime_nodes(child)


def modules(file, nodes):
    """Full names of what the import statements among the nodes bring in."""
    package = ["pytest_trainstep", *Path(file).parent.parts]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def our_rooms(file, nodes):
    for module in modules(file, nodes):
        first, _, rest = module.partition(".")
        if first == "pytest_trainstep":
            name = rest.split(".")[0]
            found = pytest_trainstep.ROOMS.get(name, name)  # a public name leads to its room
            yield found if found in MAY_IMPORT else "__init__"


def heavy(file, nodes):
    return {module.split(".")[0] for module in modules(file, nodes)} & HEAVY


def functions(file):
    return [node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_every_room_has_its_row():
    assert {room(file) for file in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file):
    imported = set(our_rooms(file, runtime_nodes(tree(file)))) - {room(file)}

    assert imported <= MAY_IMPORT[room(file)]


@pytest.mark.parametrize("file", [file for file in FILES if room(file) not in TORCH_AT_THE_TOP])
def test_nothing_heavy_is_imported_at_the_top(file):
    inside = {id(node) for function in functions(file) for node in ast.walk(function)}
    at_the_top = [node for node in runtime_nodes(tree(file)) if id(node) not in inside]

    assert heavy(file, at_the_top) == set()


@pytest.mark.parametrize("file", [file for file in FILES if room(file) in NO_TORCH_AT_ALL])
def test_pure_rooms_never_import_torch(file):
    assert "torch" not in heavy(file, runtime_nodes(tree(file)))


@pytest.mark.parametrize("file", FILES)
def test_private_names_of_pytest_stay_untouched(file):
    assert not [module for module in modules(file, ast.walk(tree(file))) if module.split(".")[0] == "_pytest"]


@pytest.mark.parametrize("file", FILES)
def test_a_room_fits_on_a_few_screens(file):
    assert len(HOUSE.joinpath(file).read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", FILES)
def test_a_function_fits_on_one_screen(file):
    long = {function.name for function in functions(file) if length(function) > LONGEST_FUNCTION}

    assert long == {name for where, name in LONG_FUNCTIONS if where == file}


def test_a_wrong_import_would_be_seen():
    wrong = ast.parse(
        "import torch.nn\nfrom . import session\nfrom .. import plugin\nfrom pytest_trainstep import watch"
    )

    assert list(our_rooms("_watch/taps.py", ast.walk(wrong))) == ["_watch", "plugin", "assertions"]
    assert heavy("_record.py", ast.walk(wrong)) == {"torch"}
