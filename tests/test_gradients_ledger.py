"""The ledger of gradients: of which backward passes each gradient is made, and what became of them."""

import random
from dataclasses import dataclass

import pytest
import torch

from pytest_trainstep._watch.gradients import Ledger


def parameters(count=3):
    return [torch.ones(2, requires_grad=True) for _ in range(count)]


class Loop:
    """A training loop in miniature: it does things to real gradients and tells the ledger what a session would."""

    def __init__(self, count=3):
        self.tensors = parameters(count)
        self.ledger = Ledger(self.tensors)

    def backward(self, *indices):
        number = self.ledger.enter()
        torch.stack([self.tensors[index].sum() for index in indices or range(len(self.tensors))]).sum().backward()
        return self.ledger.leave(number)

    def clear(self, *indices):
        for index in indices or range(len(self.tensors)):
            self.tensors[index].grad = None

    def zero(self, *indices):
        for index in indices or range(len(self.tensors)):
            if self.tensors[index].grad is not None:
                self.tensors[index].grad.zero_()

    def assign(self, *indices):
        for index in indices:
            self.tensors[index].grad = torch.full((2,), 3.0)

    def step(self, *indices):
        held = list(indices or range(len(self.tensors)))
        stands = self.stands(*held)
        self.ledger.consume(held)
        return stands

    def stands(self, *indices):
        self.ledger.sync()
        return [self.ledger.stand(index) for index in indices or range(len(self.tensors))]


@pytest.fixture
def loop():
    return Loop()


def test_a_backward_pass_tells_how_many_gradients_it_changed(loop):
    assert loop.backward() == 3
    assert loop.backward(1) == 1
    assert loop.ledger.reached == [1, 2, 1]


def test_gradients_are_none_fresh_stale_mixed(loop):
    assert loop.step() == ["none"] * 3
    loop.backward()
    assert loop.step() == ["fresh"] * 3
    assert loop.step() == ["stale"] * 3
    loop.backward(0)
    assert loop.step() == ["mixed", "stale", "stale"]


def test_what_lies_there_from_before_counts_as_used():
    tensors = parameters(2)
    torch.stack(tensors).sum().backward()
    ledger = Ledger(tensors)

    assert [ledger.stand(index) for index in (0, 1)] == ["stale", "stale"]


def test_a_cleared_gradient_is_remembered_until_the_next_step(loop):
    loop.backward()
    loop.clear(1)
    assert loop.step() == ["fresh", "cleared", "fresh"]
    assert loop.step() == ["stale", "none", "stale"]


def test_clearing_what_was_used_is_no_loss(loop):
    loop.backward()
    loop.step()
    loop.clear()
    assert loop.stands() == ["none"] * 3
    assert loop.ledger.thrown == [False] * 3


def test_many_passes_are_one_window(loop):
    for _ in range(4):
        loop.backward()
    assert loop.stands() == ["fresh"] * 3
    assert loop.ledger.longest([0, 1, 2]) == 4
    assert {window.passes for window in loop.ledger.window} == {4}


def test_an_assigned_gradient_is_manual_until_a_pass_adds_to_it(loop):
    loop.assign(0)
    assert loop.step() == ["manual", "none", "none"]
    loop.assign(0)
    loop.backward()
    assert loop.stands() == ["fresh", "fresh", "fresh"]


def test_zeroed_in_place_begins_anew_with_the_next_pass(loop):
    loop.backward()
    loop.step()
    loop.zero()
    loop.backward()
    assert loop.step() == ["fresh"] * 3


def test_a_gradient_that_is_swapped_for_another_one_is_noticed(loop):
    loop.backward()
    loop.step()
    kept = []  # so that no address is given twice: one with the address and the version of the last cannot be told apart
    for _ in range(5):
        kept.append(loop.tensors[0].grad)
        loop.clear(0)
        loop.assign(0)
        loop.backward(0)
        assert loop.step(0) == ["fresh"]


def test_a_pass_inside_a_pass_is_counted_once(loop):
    outer = loop.ledger.enter()
    inner = loop.ledger.enter()
    loop.tensors[0].sum().backward()
    assert loop.ledger.leave(inner) == 1
    loop.tensors[1].sum().backward()
    loop.ledger.leave(outer)
    assert loop.stands() == ["fresh", "fresh", "none"]
    assert loop.ledger.reached == [1, 1, 0]


def test_tensors_can_be_added_and_replaced(loop):
    loop.backward()
    new = torch.ones(2, requires_grad=True)
    loop.tensors.append(new)
    loop.ledger.grow(new, new.grad)
    loop.ledger.rebind(0, other := torch.ones(2, requires_grad=True))

    assert loop.tensors[0] is other
    assert loop.stands() == ["none", "fresh", "fresh", "none"]
    loop.backward()
    assert loop.stands() == ["fresh"] * 4


def test_no_gradient_is_kept_alive_and_no_weak_reference_is_made():
    import gc
    import weakref

    loop = Loop(1)
    loop.backward()
    loop.stands()
    gradient = weakref.ref(loop.tensors[0].grad)
    loop.clear()
    gc.collect()

    assert gradient() is None
    assert weakref.getweakrefcount(loop.tensors[0]) == 0


# The ledger is written for speed; here it is compared with one that is written to be read.


@dataclass
class Page:
    """What is known about one gradient."""

    passes: list
    present: bool = False
    by_hand: bool = False
    zeroed: bool = False
    used: int = 0
    lost: bool = False

    def stand(self):
        if not self.present:
            return "cleared" if self.lost else "none"
        if self.by_hand:
            return "manual"
        if self.passes[-1] <= self.used:
            return "stale"
        return "mixed" if self.passes[0] <= self.used else "fresh"


class Slow:
    """Ledger in plain words."""

    def __init__(self, count):
        self.pages = [Page([]) for _ in range(count)]
        self.number = 0

    def backward(self, *indices):
        self.number += 1
        for page in self.pages:
            if page.zeroed and page.present:
                page.passes, page.zeroed = [], False  # nothing of the old passes is left in it
        for index in indices:
            page = self.pages[index]
            page.passes = [*page.passes, self.number] if page.present and not page.by_hand else [self.number]
            page.present, page.by_hand = True, False

    def clear(self, *indices):
        for index in indices:
            page = self.pages[index]
            page.lost = page.lost or bool(page.present and page.passes and page.passes[-1] > page.used)
            page.passes, page.present, page.by_hand, page.zeroed = [], False, False, False

    def zero(self, *indices):
        for index in indices:
            self.pages[index].zeroed = self.pages[index].present

    def assign(self, *indices):
        for index in indices:
            page = self.pages[index]
            page.passes, page.present, page.by_hand, page.zeroed = [], True, True, False

    def step(self, *indices):
        for index in indices:
            self.pages[index].used, self.pages[index].lost = self.number, False

    def stands(self):
        # a zeroed gradient has a stand only at a step, where its values are looked at
        return [page.stand() if page.by_hand or page.passes or not page.present else "manual" for page in self.pages]


@pytest.mark.parametrize("seed", range(40))
def test_any_loop_reads_the_same_in_the_plain_ledger(seed):
    chance = random.Random(seed)  # noqa: S311 - for the order of events
    count = chance.choice([1, 2, 4])
    fast, slow, story = Loop(count), Slow(count), []
    for _ in range(60):
        what = chance.choice(["backward", "backward", "backward", "step", "step", "clear", "zero", "assign"])
        everything = list(range(count))
        some = everything if chance.random() < 0.6 else chance.sample(everything, chance.randint(1, count))
        story.append((what, some))
        getattr(fast, what)(*some)
        getattr(slow, what)(*some)
        assert fast.stands() == slow.stands(), story
        words = fast.ledger.stands(everything)
        assert words == [fast.ledger.stand(index) for index in everything], story
