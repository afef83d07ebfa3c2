"""The terminal section: only when there is something to say, worst first."""

from __future__ import annotations

from .summary import NOT_OBSERVED, Found, Run, Summary

_SHOWN = 12


def lines(run: Run, summary: Summary, *, verbose: int) -> list[str]:
    """Return the lines of the section; none where nothing was found and nobody asked for more."""
    problems = _problems(run, summary)
    if verbose < -1 or not (summary.findings or problems or verbose > 0):
        return []
    shown = summary.worst if verbose > 0 else summary.worst[:_SHOWN]
    result: list[str] = []
    for found in shown:
        result += [*_entry(found), ""]
    if summary.findings > len(shown):
        hint = "" if verbose > 0 else " (-v shows more, --trainstep-report=audit.html all)"
        result += [f"... and {summary.findings - len(shown)} more findings{hint}", ""]
    result += [*problems, headline(summary)]
    if verbose > 0:
        result.append(f"not observed: {'; '.join(NOT_OBSERVED)}")
    return [ascii_only(line) for line in result]


def headline(summary: Summary) -> str:
    """One sentence with the totals."""
    from pytest_trainstep._diagnose.because import plural  # a run without findings ends without the rules

    trained = plural(summary.tests, "test")
    if summary.fixtures:
        trained += f" and {plural(summary.fixtures, 'fixture')}"
    head = f"{trained} trained: {plural(summary.steps, 'optimizer step')}, {summary.noop_steps} without any update"
    if summary.skipped_steps:
        head += f", {summary.skipped_steps} skipped by a gradient scaler"
    if not summary.findings:
        return f"{head}. Nothing found."
    causes = ", ".join(f"{count} {cause}" for cause, count in summary.causes.most_common())
    return f"{head}. {plural(summary.findings, 'finding')} in {summary.with_findings}: {causes}."


def _entry(found: Found) -> list[str]:
    finding = found.verdict.finding
    outcome = f" ({found.subject.outcome})" if found.subject.outcome not in ("", "passed") else ""
    result = [f"{found.id}{outcome}", f"  {found.verdict.at}: {', '.join(finding.causes)}: {finding.claim}"]
    for reason in finding.reasons[:3]:
        result += [f"  because: {reason.because}", f"  fix: {reason.fix}"]
    return result


def _problems(run: Run, summary: Summary) -> list[str]:
    result = [f"the excuse of {name} no longer applies: nothing was found in it" for name in summary.unneeded[:_SHOWN]]
    if run.lost:
        from pytest_trainstep._diagnose.because import plural

        names = ", ".join(run.lost_ids[:3])
        result.append(f"not observed: {plural(run.lost, 'test')} whose worker crashed ({names})")
    notes = [*run.notes, *summary.notes]
    result += [f"note: {note}" for note in dict.fromkeys(notes[:_SHOWN])]
    return result


def cell(text: str) -> str:
    """Return text that may stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def ascii_only(line: str) -> str:
    """Return a line that every terminal can show."""
    return line.encode("ascii", "backslashreplace").decode()
