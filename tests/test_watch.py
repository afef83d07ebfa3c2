"""What a watch records: optimizer steps and backward passes, in one watch or in several."""

import inspect
import threading

import pytest
import torch
from torch import nn

from pytest_trainstep import watch

HERE = "test_watch.py"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def sgd(model, lr=0.1, **options):
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def loss_of(model):
    return model(torch.ones(5, 3)).square().mean()


def line(offset=0):
    return inspect.currentframe().f_back.f_lineno + offset


# Optimizer steps.


def test_a_step_is_recorded_with_its_place_and_rates():
    model = net()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.3}, {"params": model[2].parameters()}], lr=torch.tensor(0.25)
    )
    built = line(-3)
    with watch(model) as watched:
        loss_of(model).backward()
        optimizer.step()
        stepped = line(-1)

    (step,) = watched.record.steps
    (seen,) = watched.record.optimizers
    assert (step.number, step.fresh, step.closure, step.skipped) == (1, 4, False, False)
    assert step.lrs == seen.lrs == (0.3, 0.25)
    assert step.at.endswith(f"{HERE}:{stepped}")
    assert seen.stepped_at == step.at
    assert seen.built_at.endswith(f"{HERE}:{built}")
    assert (seen.name, seen.steps, seen.holds, seen.watched, seen.watched_trainable) == ("SGD", 1, 4, 4, 4)
    assert watched.record.parameters["0.bias"].lr == 0.3
    assert watched.record.parameters["2.bias"].lr == 0.25


def test_a_closure_and_its_backward_passes_are_recorded():
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with watch(model) as watched:
        optimizer.step(closure)

    (step,) = watched.record.steps
    assert step.closure
    assert step.fresh == 4
    assert watched.record.backward_count > 1
    assert {one.in_step for one in watched.record.backwards} == {1}
    assert all(row.gradient_moved for row in watched.record.parameters.values())


def test_a_step_that_calls_the_step_of_its_base_class_counts_once():
    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    model = net()
    optimizer = Twice(model.parameters(), lr=0.1)
    with watch(model) as watched:
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()

    assert watched.record.step_count == len(watched.record.steps) == 2
    assert watched.record.optimizers[0].steps == 2


def test_a_step_that_raises_does_not_swallow_the_next_ones():
    class Moody(torch.optim.SGD):
        calls = 0

        def step(self, closure=None):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("not in the mood")
            return super().step(closure)

    model = net()
    optimizer = Moody(model.parameters(), lr=0.1)
    with watch(model) as watched:
        loss_of(model).backward()
        with pytest.raises(ValueError, match="mood"):
            optimizer.step()
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()

    assert [step.fresh for step in watched.record.steps] == [4, 4]
    assert watched.record.optimizers[0].steps == 3  # entered three times
    assert all(row.gradient_moved for row in watched.record.parameters.values())


def test_a_scheduler_made_during_the_watch_finds_the_optimizer_as_it_was():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()
            scheduler.step()

    assert [step.lrs for step in watched.record.steps] == [(0.1,), (0.05,)]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_steps_that_a_scaler_skips_are_recorded_as_skipped(fused):
    model = net()
    optimizer = sgd(model, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with watch(model) as watched:
        for factor in (torch.inf, 1.0):
            optimizer.zero_grad()
            scaler.scale(loss_of(model) * factor).backward()
            scaler.step(optimizer)
            scaler.update()

    assert [step.skipped for step in watched.record.steps] == [True, False]
    (seen,) = watched.record.optimizers
    assert (seen.steps, seen.skipped, watched.record.step_count) == (1, 1, 2)
    assert all(row.gradient_moved for row in watched.record.parameters.values())
    assert [one.skipped for one in watched.record.parameters["0.bias"].occasions] == [True]


def test_a_scaler_with_two_optimizers_skips_one_of_them():
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    optimizers = [sgd(half) for half in model]
    scaler = torch.amp.GradScaler("cpu")
    with watch(model) as watched:
        scaler.scale(loss_of(model[0])).backward()
        scaler.scale(loss_of(model[1]) * torch.inf).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)

    assert [(one.steps, one.skipped) for one in watched.record.optimizers] == [(1, 0), (0, 1)]
    assert not watched.record.parameters["1.weight"].moved


# Backward passes.


def test_a_backward_pass_is_recorded_with_its_root_and_place():
    model = net()
    with watch(model) as watched:
        nn.functional.mse_loss(model(torch.ones(5, 3)), torch.ones(5, 2)).backward()
        ran = line(-1)

    (seen,) = watched.record.backwards
    assert seen.roots == ("MseLossBackward0",)
    assert (seen.number, seen.depth, seen.reached, seen.detached_root, seen.in_step) == (1, 0, 4, False, None)
    assert seen.at.endswith(f"{HERE}:{ran}")


def test_a_root_without_a_graph_is_called_detached():
    model = net()
    with watch(model) as watched:
        torch.tensor(loss_of(model).item(), requires_grad=True).backward()

    (seen,) = watched.record.backwards
    assert (seen.roots, seen.detached_root, seen.reached) == (("leaf",), True, 0)


def test_the_error_of_a_backward_pass_is_kept_and_passes():
    model = net()
    with watch(model) as watched, pytest.raises(RuntimeError, match="scalar"):
        torch.autograd.backward(model(torch.ones(5, 3)))

    # torch refuses before the engine is asked: nothing ran, nothing is counted
    assert watched.record.backward_count == 0


def test_backward_inside_backward_has_a_depth():
    from torch.utils.checkpoint import checkpoint

    model = net()
    with watch(model) as watched:
        x = torch.ones(5, 3, requires_grad=True)
        checkpoint(model, x, use_reentrant=True).square().mean().backward()

    assert sorted(one.depth for one in watched.record.backwards) == [0, 1]
    assert all(row.reached == 1 for row in watched.record.parameters.values())


def test_gradients_asked_for_without_accumulation_are_no_backward_pass():
    model = net()
    with watch(model) as watched:
        torch.autograd.grad(loss_of(model), list(model.parameters()))

    assert watched.record.backward_count == 0


def test_losses_are_kept_as_numbers():
    model = net()
    with watch(model) as watched:
        expected = [loss_of(model).item()]
        loss_of(model).backward()

    assert list(watched.record.losses) == pytest.approx(expected)


# Several watches.


def test_watches_nest_and_each_hears_everything_inside():
    model = net()
    optimizer = sgd(model)

    def train():
        loss_of(model).backward()
        optimizer.step()

    with watch(model) as outer:
        train()
        with watch(model) as inner:
            train()
        train()

    assert (outer.record.step_count, inner.record.step_count) == (3, 1)


def test_watches_in_threads_hear_their_own_thread_only():
    models, records, gate = [net() for _ in range(3)], {}, threading.Barrier(3)

    def work(number):
        model, optimizer = models[number], sgd(models[number])
        gate.wait(10)
        with watch(model) as watched:
            for _ in range(number + 1):
                optimizer.zero_grad()
                loss_of(model).backward()
                optimizer.step()
        records[number] = watched.record

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [records[number].step_count for number in range(3)] == [1, 2, 3]
    assert [records[number].backward_count for number in range(3)] == [1, 2, 3]
    assert all(row.gradient_moved for record in records.values() for row in record.parameters.values())


def test_a_step_in_a_worker_thread_is_heard_by_the_watch_of_the_main_thread():
    model = net()
    optimizer = sgd(model)

    def work():
        loss_of(model).backward()
        optimizer.step()

    with watch(model) as watched:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join(30)

    assert watched.record.step_count == 1


def test_a_watch_of_two_models_names_both():
    models = {"generator": nn.Linear(2, 3), "discriminator": nn.Linear(3, 1)}
    optimizers = [sgd(one) for one in models.values()]
    with watch(models) as watched:
        models["discriminator"](models["generator"](torch.ones(1, 2))).sum().backward()
        for optimizer in optimizers:
            optimizer.step()

    assert list(watched.record.parameters) == [
        "generator.weight",
        "generator.bias",
        "discriminator.weight",
        "discriminator.bias",
    ]
    assert [(one.watched, one.holds) for one in watched.record.optimizers] == [(2, 2), (2, 2)]


@pytest.mark.parametrize("method", ["before_step", "after_step", "before_backward", "after_backward", "differentiated"])
def test_an_exception_of_ours_becomes_a_note(method, monkeypatch):
    from pytest_trainstep._watch.session import Session

    def broken(*_args, **_kwargs):
        raise KeyError("ours")

    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        monkeypatch.setattr(Session, method, broken)
        torch.autograd.grad(loss_of(model), list(model.parameters()))
        loss_of(model).backward()
        optimizer.step()

    assert f"internal: {method}: KeyError: 'ours'" in watched.record.notes
    assert all(row.moved for row in watched.record.parameters.values())


def test_an_exception_of_ours_at_a_skipped_step_becomes_a_note(monkeypatch):
    from pytest_trainstep._watch.session import Session

    model = net()
    scaler = torch.amp.GradScaler("cpu")
    optimizer = sgd(model)
    with watch(model) as watched:
        monkeypatch.setattr(Session, "step_skipped", None)
        scaler.scale(loss_of(model) * torch.inf).backward()
        scaler.step(optimizer)

    assert watched.record.notes[0].startswith("internal: step_skipped: TypeError")
