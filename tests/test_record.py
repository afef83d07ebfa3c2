"""A record is plain: it compares, travels by pickle, and is written to JSON and read back as it was."""

import dataclasses
import json
import math
import pickle
import typing

import pytest

from pytest_trainstep import StepRecord, _record


def filled(kind, number=math.nan):
    """An instance of a record class in which no field has its default."""
    hints = typing.get_type_hints(kind)
    return kind(**{field.name: example(hints[field.name], field.name, number) for field in dataclasses.fields(kind)})


def example(hint, name, number):
    """A value of a type that is not the default of anything, with `number` wherever a float may stand."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return filled(hint, number)
    if origin is tuple:
        return (example(parts[0], name, number), example(parts[0], name, number))
    if origin is not None and "Mapping" in str(origin):
        return {"nan": example(parts[1], name, number), "inf": example(parts[1], name, number)}
    if parts:  # a union with None
        return example(next(part for part in parts if part is not type(None)), name, number)
    return {str: f"nan {name}", int: 7, float: number, bool: True, object: "anything"}[hint]


CLASSES = [one for one in vars(_record).values() if dataclasses.is_dataclass(one)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.25], ids=str)
def test_a_record_with_everything_survives_json(number):
    record = filled(StepRecord, number)
    text = json.dumps(record.to_json(), allow_nan=False)
    back = StepRecord.from_json(json.loads(text))

    assert repr(back) == repr(record)  # NaN is not equal to itself, but prints so
    assert json.dumps(back.to_json(), allow_nan=False) == text
    if not math.isnan(number):
        assert back == record


def test_an_empty_record_survives_json():
    assert StepRecord.from_json(json.loads(json.dumps(StepRecord().to_json()))) == StepRecord()


def test_strings_that_look_like_numbers_stay_strings():
    row = _record.ParameterRecord(name="inf", aliases=("nan", "-inf"), grad_max=math.inf)
    record = StepRecord(parameters={"nan": row}, notes=("nan",), failed_backward="inf")

    assert StepRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_word_of_a_record_can_be_pickled_and_not_be_changed(kind):
    one = filled(kind, 0.5)

    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(kind)[0].name, None)
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_record_holds_plain_values_only(kind):
    plain = {str, int, float, bool, object, type(None)}

    def look(hint):
        parts = typing.get_args(hint)
        if parts:
            return all(look(part) for part in parts if part is not Ellipsis)
        return hint in plain or dataclasses.is_dataclass(hint)

    assert all(look(hint) for hint in typing.get_type_hints(kind).values())


def test_what_was_watched_survives_json_and_pickle():
    torch = pytest.importorskip("torch")
    from pytest_trainstep import watch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-30)
    with watch(model) as watched:
        for factor in (1.0, math.nan):
            (model(torch.ones(1, 2)).sum() * factor).backward()
            optimizer.step()
    record = watched.record

    assert repr(StepRecord.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))) == repr(record)
    assert repr(pickle.loads(pickle.dumps(record))) == repr(record)  # noqa: S301 - our own bytes
    assert math.isnan(record.losses[1])
