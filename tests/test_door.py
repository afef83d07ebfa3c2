"""The public names, and that the three places that list them agree."""

import ast
import copy
import importlib
import pickle
import warnings
from pathlib import Path

import pytest

import pytest_trainstep
from pytest_trainstep import _errors, _namespace

DOOR = Path(pytest_trainstep.__file__)


def typed_imports():
    """Names and rooms of the imports that only type checkers read."""
    block = next(node for node in ast.parse(DOOR.read_text()).body if isinstance(node, ast.If))
    return {
        alias.name: node.module.removeprefix("pytest_trainstep.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_type_checkers_see_is_what_the_table_says():
    assert typed_imports() == pytest_trainstep.ROOMS


def test_all_lists_the_table_in_order():
    assert pytest_trainstep.__all__ == list(pytest_trainstep.ROOMS)
    assert sorted(pytest_trainstep.__all__) == pytest_trainstep.__all__


@pytest.mark.parametrize("name", pytest_trainstep.__all__)
def test_every_public_name_leads_to_its_room(name):
    room = importlib.import_module(f"pytest_trainstep.{pytest_trainstep.ROOMS[name]}")

    assert getattr(pytest_trainstep, name) is getattr(room, name)


def test_an_unknown_name_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="module 'pytest_trainstep' has no attribute 'assert_wheights_update'"):
        pytest_trainstep.assert_wheights_update  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(pytest_trainstep.__all__) <= set(dir(pytest_trainstep))


def test_the_version_is_the_installed_one():
    assert pytest_trainstep.__version__ == importlib.metadata.version("pytest-trainstep")


def test_the_namespace_offers_every_assertion_and_watch():
    offered = [name for name in vars(typed_namespace()) if not name.startswith("_")]

    assert sorted(offered) == sorted(_namespace.names())
    for name in offered:
        assert getattr(_namespace.TrainStep(), name) is getattr(pytest_trainstep, name)
        assert name in dir(_namespace.TrainStep())


def typed_namespace():
    """The class as a type checker sees it."""
    tree = ast.parse(Path(_namespace.__file__).read_text())
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    block = next(node for node in cls.body if isinstance(node, ast.If))
    names = [target.id for node in block.body if isinstance(node, ast.Assign) for target in node.targets]
    return type("Typed", (), dict.fromkeys(names))


def test_the_namespace_names_what_it_has_when_asked_for_something_else():
    with pytest.raises(
        AttributeError, match=r"trainstep has no 'assert_wheights'; it has assert_.*assert_weights_frozen, "
    ):
        _namespace.TrainStep().assert_wheights  # noqa: B018


def test_the_namespace_can_be_copied_and_pickled():
    namespace = _namespace.TrainStep()

    assert repr(copy.deepcopy(namespace)) == repr(pickle.loads(pickle.dumps(namespace))) == "trainstep"  # noqa: S301


ERRORS = [cls for cls in vars(_errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_errors_are_named_after_the_door(cls):
    assert cls.__module__ == "pytest_trainstep"
    assert cls.__name__ in pytest_trainstep.__all__


@pytest.mark.parametrize(
    "cls", [cls for cls in ERRORS if issubclass(cls, AssertionError)], ids=lambda cls: cls.__name__
)
def test_a_failed_claim_is_its_finding_printed_and_survives_pickling(cls):
    error = cls("no-step: nothing moved")  # any value will do: the error only carries it

    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(each) is cls
        assert str(each) == each.finding == "no-step: nothing moved"


def test_a_usage_error_is_a_value_error_and_no_failed_claim():
    assert issubclass(pytest_trainstep.TrainStepUsageError, ValueError)
    assert not issubclass(pytest_trainstep.TrainStepUsageError, AssertionError)


def test_warnings_can_be_filtered_like_those_of_pytest():
    with pytest.warns(pytest.PytestWarning, match="note"):
        warnings.warn("note", pytest_trainstep.TrainStepWarning, stacklevel=1)
