"""One thread: the models here are tiny, and threads that wait for each other are all their time. And training trains."""

import weakref

import pytest

pytest.register_assert_rewrite("corpus_scripts")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def training_trains(request):
    """Fail a test in which optimizers step and no step changes a weight.

    Most tests here are about something else (a message, a file, a random stream) and would stay green; with this, a
    torch or a test whose steps do nothing is noticed by each of them. Where no weight is to change, the marker `still`
    says so, and has to be right as well.
    """
    from torch.optim import optimizer as optim

    kept, moved = {}, set()

    def before(optimizer, args, kwargs):
        kept[id(optimizer)] = [  # who else holds a weight is asked in some tests
            (weakref.ref(weight), weight.detach().clone())
            for group in optimizer.param_groups
            for weight in group["params"]
        ]

    def after(optimizer, args, kwargs):
        pairs = kept.pop(id(optimizer), ())
        if True not in moved:
            moved.add(any(not same(weight(), value) for weight, value in pairs))

    removable = [optim.register_optimizer_step_pre_hook(before), optim.register_optimizer_step_post_hook(after)]
    yield
    for handle in removable:
        handle.remove()
    if moved and "still" in request.keywords:
        assert True not in moved, "marked `still`, and a step changed a weight"
    elif moved:
        assert True in moved, "no step changed a weight; if that is the point of this test, mark it `still`"


def same(weight, value):
    return weight.shape == value.shape and bool((weight.detach() == value).all())


@pytest.fixture
def nobody_else_listens(request):
    """What torch looks like when nobody listens cannot be told while the plugin itself watches these tests."""
    listening = ("trainstep-listener", "trainstep-mutation")
    if any(request.config.pluginmanager.has_plugin(name) for name in listening):
        pytest.skip("the audit, or the planting of faults, is attached to torch")
