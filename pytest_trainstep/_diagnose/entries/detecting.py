"""Why a test did not notice a planted fault."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="blind-test",
        claims=("assert_detects",),
        fault="The test passes although training does nothing, or the wrong thing: what it asserts holds without training.",
        example="train(model, optimizer, batches)\nassert model(x).shape == (8, 10)  # untrained weights do as well",
        fix="assert something that only training brings about: assert_weights_update, or a loss that falls by a margin.",
        on_purpose="pass faults=[...] without the fault that the test may miss.",
    ),
)
