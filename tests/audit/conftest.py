"""A small audit, written by hand: what the views are tested on, without torch."""

import pytest

from pytest_trainstep._heard import Curve, Group, Heard, Subject
from pytest_trainstep._report import Run


def healthy(name, steps=4):
    points = [(1, 1e-2, 0.5), (2, 5e-3, 0.25), (4, 1e-3, 0.1)]
    curves = [
        Curve(name=f"{layer}.{kind}", shape=(8, 2), points=points) for layer in "01" for kind in ("weight", "bias")
    ]
    heard = Heard(
        name="Adam",
        built_at="test_b.py:3",
        stepped_at="test_b.py:9",
        steps=steps,
        tensors=4,
        backward_before=1,
        backward_after=3,
        groups=[Group(tensors=4, elements=40, updated=True, lr=(0.001, 0.1))],
        curves=curves,
    )
    losses = [(1, 4.0), (2, 2.0), (3, 1.5), (4, 1.25)]
    return Subject(id=name, at="test_b.py:1", outcome="passed", backwards=4, optimizers=[heard], losses=losses)


def stuck(name):
    curves = [
        Curve(name="0.weight", shape=(4, 2), points=[(1, None, 0.5), (2, None, float("nan"))]),
        Curve(name="0.bias", shape=(4,), points=[(1, None, None), (2, None, None)]),
    ]
    heard = Heard(
        name="SGD",
        built_at="test_a.py:5",
        stepped_at="test_a.py:8",
        steps=2,
        noop_steps=2,
        tensors=2,
        backward_before=1,
        groups=[Group(tensors=2, elements=12, lr=(0.0, 0.0), lr_zero=2, stands={"usable": 4}, grad_max=0.5)],
        curves=curves,
    )
    return Subject(id=name, at="test_a.py:4", outcome="passed", backwards=2, optimizers=[heard])


@pytest.fixture
def subjects():
    excused, old = stuck("test_a.py::test_excused"), healthy("test_b.py::test_once_excused")
    excused.excuse, old.excuse = "warm-up is all there is", "no longer true"
    odd = stuck("test_c.py::test_odd[<script>alert(1)</script>-|]")
    odd.optimizers[0].groups[0].updated = True
    odd.optimizers[0].leftover = 2
    many = [healthy(f"test_b.py::test_healthy[{number}]", steps=number) for number in range(2, 12)]
    return sorted([stuck("test_a.py::test_stuck"), excused, old, odd, *many], key=lambda one: one.id)


@pytest.fixture
def session():
    return Run(made_by={"pytest": "9.2.0"}, started=0.0, duration=1.5, collected=20, ran=20)
