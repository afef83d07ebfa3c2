"""Why two runs differ, and why a resumed run parts from the uninterrupted one."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_RANDOM = "leave the claim out: a training that is random by design cannot be reproduced."
_ANEW = "leave the claim out: a training that starts anew on purpose does not resume."


def _reproduce(name: str, fault: str, example: str, fix: str) -> Entry:
    return Entry(
        name=name, claims=("assert_runs_reproduce",), fault=fault, example=example, fix=fix, on_purpose=_RANDOM
    )


def _resume(name: str, fault: str, example: str, fix: str) -> Entry:
    return Entry(name=name, claims=("assert_resume_matches",), fault=fault, example=example, fix=fix, on_purpose=_ANEW)


ENTRIES: tuple[Entry, ...] = (
    _reproduce(
        "unseeded-python-random",
        "Python's `random` takes part and is never seeded.",
        "torch.manual_seed(0)\naugmentation = random.choice(augmentations)",
        "call random.seed(seed) too, or use a random.Random(seed) of your own.",
    ),
    _reproduce(
        "unseeded-numpy",
        "numpy's global random stream takes part and is never seeded.",
        "torch.manual_seed(0)\norder = numpy.random.permutation(len(data))",
        "call numpy.random.seed(seed), or use numpy.random.default_rng(seed).",
    ),
    _reproduce(
        "unseeded-torch",
        "torch's global random stream takes part and is never seeded.",
        "model = nn.Linear(4, 2)  # nothing has called torch.manual_seed",
        "call torch.manual_seed(seed) before the model is built.",
    ),
    _reproduce(
        "seeded-too-late",
        "A stream is seeded, but something has drawn from it before.",
        "model = nn.Linear(4, 2)\ntorch.manual_seed(0)",
        "seed before the model, the data and everything else random is built.",
    ),
    _reproduce(
        "time-dependent",
        "The clock takes part: in a seed, a schedule or the data.",
        "torch.manual_seed(int(time.time()))",
        "derive it from a fixed seed or from the number of the step.",
    ),
    _reproduce(
        "system-entropy",
        "The system's own entropy takes part, which nothing can seed.",
        "order = random.SystemRandom().sample(rows, 8)",
        "use a generator with a fixed seed.",
    ),
    _reproduce(
        "shared-state-mutated",
        "Something lives longer than a trainer and goes on from where the run before has left it.",
        "def __init__(self, buffer=[]):  # one list for all trainers\n    self.buffer = buffer",
        "build it anew in each trainer: no mutable defaults, no generators at module level.",
    ),
    _reproduce(
        "address-order",
        "The order of addresses takes part: a set of tensors or modules, or sorting by `id`.",
        "optimizer = Adam(set(model.parameters()))",
        "use a list, or sort by name.",
    ),
    _reproduce(
        "uninitialised-memory",
        "Memory is read that nobody has written to.",
        "buffer = torch.empty(64, 64)  # filled in part only",
        "use torch.zeros(), or fill it before it is read.",
    ),
    _reproduce(
        "state-in-files",
        "A run reads a file that the run before has written.",
        "if path.exists():\n    model.load_state_dict(torch.load(path))",
        "write to a folder of its own in each run (tmp_path).",
    ),
    _reproduce(
        "nondeterministic-operation",
        "An operation of torch is not deterministic: with its deterministic algorithms two runs agree.",
        "out.index_add_(0, index, values)  # on a GPU the order of the additions varies",
        "call torch.use_deterministic_algorithms(True); it names the operation.",
    ),
    _reproduce(
        "hash-order",
        "The order of a set of strings takes part, which is another one in each process.",
        "layers = nn.ModuleDict({name: nn.Linear(4, 4) for name in {'query', 'key', 'value'}})",
        "sort it: sorted(names) in place of set(names).",
    ),
    _resume(
        "optimizer-state-lost",
        "The optimizer's state (moments, step counts, lr) is not in the checkpoint, or is not loaded.",
        "state = {'model': model.state_dict()}",
        "save and load optimizer.state_dict().",
    ),
    _resume(
        "scheduler-state-lost",
        "The scheduler's state is not in the checkpoint, or is not loaded.",
        "state = {'model': model.state_dict(), 'optimizer': optimizer.state_dict()}",
        "save and load scheduler.state_dict(), after the optimizer's.",
    ),
    _resume(
        "scaler-state-lost",
        "The gradient scaler begins again at its initial scale.",
        "scaler = torch.amp.GradScaler()  # built anew, never loaded",
        "save and load scaler.state_dict().",
    ),
    _resume(
        "random-state-lost",
        "The position of a random stream or generator is not in the checkpoint.",
        "state = {'model': model.state_dict()}  # dropout draws other masks after loading",
        "save torch.get_rng_state() and set it after loading, or derive randomness from the step number.",
    ),
    _resume(
        "data-position-lost",
        "The first batch after loading is not the one that was due.",
        "self.batches = iter(loader)  # begins again after loading",
        "save how far the epoch has come, and skip to it after loading.",
    ),
    _resume(
        "counter-lost",
        "A counter or setting that training depends on is not in the checkpoint.",
        "beta = min(1.0, self.global_step / 10)  # global_step is 0 again",
        "put it into state_dict() and read it back.",
    ),
    _resume(
        "mode-lost",
        "Which parameters are trainable, or which modules are in eval mode, was changed by training, and not after loading.",
        "if self.count == 100:  # never reached again after loading\n    self.backbone.requires_grad_(True)",
        "derive it from the number of the step (>= in place of ==), or save it and set it after loading.",
    ),
    _resume(
        "gradients-lost",
        "The checkpoint was made inside an accumulation window, and the gradients so far are not in it.",
        "if step % 100 == 0:\n    save()  # step % accumulation may not be 0",
        "save only between windows, or save the gradients too.",
    ),
    _resume(
        "buffer-not-saved",
        "Buffers (running statistics) are not in the checkpoint.",
        "state = {name: p for name, p in model.named_parameters()}",
        "save model.state_dict(); register_buffer(..., persistent=True).",
    ),
    _resume(
        "weights-lost",
        "Weights of the model are not in the checkpoint, or are not loaded.",
        "model.load_state_dict(state, strict=False)  # the keys have another prefix",
        "load with strict=True and mend the names.",
    ),
    _resume(
        "averaged-weights-lost",
        "The weights of another module (an average, a teacher, a target network) are not in the checkpoint.",
        "state = {'student': student.state_dict()}",
        "save and load the state_dict of every module that is trained or averaged.",
    ),
    _resume(
        "averaged-weights-loaded",
        "One module was loaded with the weights of another.",
        "teacher.load_state_dict(state['student'])",
        "save each set of weights under its own key, and load each into its own module.",
    ),
    _resume(
        "snapshot-aliased",
        "The checkpoint refers to the living tensors and goes on changing with them.",
        "best = model.state_dict()  # no copy",
        "copy.deepcopy(model.state_dict()), or write it to disk at once.",
    ),
    _resume(
        "parameter-order-changed",
        "The new optimizer lists its parameters in another order, so each gets another's state.",
        "optimizer = Adam(set(model.parameters()))",
        "build the list of parameters in a fixed order.",
    ),
    _resume(
        "tie-broken",
        "Names that stood for one tensor stand for separate ones after loading.",
        "model.head.weight = nn.Parameter(state['head.weight'])",
        "tie the weights again after loading, and build the optimizer after that.",
    ),
    _resume(
        "tensor-lost",
        "A tensor kept outside the model is not in the checkpoint.",
        "self.temperature = torch.tensor(1.0)  # annealed in each step",
        "put it into state_dict() and read it back, or make it a buffer.",
    ),
    _resume(
        "component-state-lost",
        "A component that has a state_dict() of its own is not in the checkpoint.",
        "self.early_stopping = EarlyStopping()",
        "save and load its state_dict() too.",
    ),
    _resume(
        "saving-disturbs-run",
        "The run that was saved goes on differently from one that never was: saving changed something.",
        "def state_dict(self):\n    self.model.eval()\n    return self.model.state_dict()",
        "let state_dict() only read.",
    ),
    _resume(
        "not-reproducible",
        "Two runs from the same random state differ already before the checkpoint.",
        "torch.manual_seed(int(time.time()))",
        "make the training reproducible first: assert_runs_reproduce names what it depends on.",
    ),
)
