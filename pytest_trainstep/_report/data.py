"""The JSON report. Its form is described in docs/audit.md, and has a version."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_trainstep._diagnose.audit import Verdict
from pytest_trainstep._heard import Subject

from . import mutation, recordings
from .summary import NOT_OBSERVED, Run, Summary, judged, summarise

SCHEMA = "pytest-trainstep/audit"
VERSION = 1


def pieces(run: Run, subjects: Iterable[Subject]) -> Iterator[str]:
    """Write the report test by test."""
    head = json.dumps(header(run, summarise(subjects)), indent=1)
    yield head.removesuffix("\n}") + ',\n "tests": [\n'
    for number, subject in enumerate(subjects):
        if number:
            yield ",\n"
        yield "  " + json.dumps(test(subject))
    yield "\n ]\n}\n"


def header(run: Run, summary: Summary) -> dict[str, Any]:
    """Return everything but the tests."""
    started = dt.datetime.fromtimestamp(run.started, tz=dt.UTC)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "made_by": run.made_by,
        "started": started.isoformat(timespec="seconds"),
        "duration": round(run.duration, 3),
        "mode": run.mode,
        "exit_status": run.exit_status,
        "complete": run.complete,
        "collected": run.collected,
        "ran": run.ran,
        "lost": {"count": run.lost, "ids": run.lost_ids},
        "not_observed": list(NOT_OBSERVED),
        "notes": sorted({*run.notes, *summary.notes}),
        "totals": {
            "tests": summary.tests,
            "fixtures": summary.fixtures,
            "optimizers": summary.optimizers,
            "steps": summary.steps,
            "noop_steps": summary.noop_steps,
            "skipped_steps": summary.skipped_steps,
            "with_findings": summary.with_findings,
            "findings": summary.findings,
            "failing": summary.failing,
            "excused": summary.excused,
            "causes": dict(sorted(summary.causes.items())),
        },
        "unneeded_excuses": summary.unneeded,
        "recordings": recordings.data(run.recordings),
        "planted": None if run.plantings is None else mutation.data(run.plantings),
    }


def test(subject: Subject) -> dict[str, Any]:
    """Return one test with its findings."""
    plain = subject.to_json()
    noops = sum(one.noop_steps for one in subject.optimizers)
    findings = [finding(verdict) for verdict in judged(subject)]
    return {**plain, "steps": subject.steps, "noop_steps": noops, "findings": findings}


def finding(verdict: Verdict) -> dict[str, Any]:
    """Return one finding as plain values."""
    found = verdict.finding
    return {
        "causes": list(found.causes),
        "claim": found.claim,
        "at": verdict.at,
        "fails": verdict.fails,
        "optimizer": verdict.optimizer,
        "reasons": [
            {"cause": one.cause, "because": one.because, "fix": one.fix, "groups": list(one.parameters)}
            for one in found.reasons
        ],
    }
