"""What `audit verify` shows: the outcome, the rounds of --follow, and --repair."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer

from fraudctl.errors import INTERRUPTED, BadConfig

if TYPE_CHECKING:
    from pathlib import Path

    from fraudctl.context import Context
    from fraudctl.render import Renderer
    from fraudctl.services.verify.follow import Following
    from fraudctl.services.verify.kept import Question
    from fraudctl.services.verify.reconcile import Reconciliation, Result


def check(question: Question, *, resume: bool, repair: bool, sealed: bool) -> None:
    """Raise `BadConfig` for options that do not go together."""
    if question.follow and (question.until is not None or question.by is not None or repair):
        raise BadConfig("--follow: goes on without end", hint="leave out --until, --by and --repair")
    if sealed and (question.follow or question.by is not None or repair or resume):
        raise BadConfig(
            "--sealed and --evidence: look at rows alone", hint="leave out --follow, --by, --resume and --repair"
        )


def run(render: Renderer, reconciliation: Reconciliation, question: Question, file: Path | None) -> Result:
    """Return the outcome, with progress meanwhile; Ctrl-C says how to go on, if a file keeps how far it has come."""
    from fraudctl.services.verify.kept import forget

    try:
        render.events(reconciliation.run())
    except KeyboardInterrupt as error:
        if file is None:
            raise
        render.note(f"Interrupted. Go on with `{question.command()}`.")
        raise typer.Exit(INTERRUPTED) from error
    if file is not None:
        forget(file)
    return reconciliation.result


def show(render: Renderer, result: Result, limit: int) -> None:
    """Show the outcome, with at most so many cases of each kind."""
    from fraudctl.services.verify import buckets, report

    cases = report.cases(result, limit)
    counted = [] if result.buckets is None else result.buckets.rows()
    if render.json:
        render.rows([report.document(result, cases)], ())
    elif render.structured:
        render.rows(*((cases, report.CASE_COLUMNS) if result.buckets is None else (counted, buckets.COLUMNS)))
    else:
        render.rows(report.summary(result), report.SUMMARY_COLUMNS)
        render.rows(buckets.people(counted), buckets.COLUMNS)
        render.rows(cases, report.CASE_COLUMNS)
    for note in report.notes(result, limit):
        render.note(note)


def follow(context: Context, following: Following, question: Question) -> NoReturn:
    """Show round after round until Ctrl-C, then what was found."""
    from fraudctl.services.verify import report

    render = context.render
    try:
        _show_rounds(render, following)
    except KeyboardInterrupt as error:
        if not following.seen:
            raise
        result = following.seen[-1].result
        if not render.structured:
            render.rows(report.summary(result), report.SUMMARY_COLUMNS)
        for note in report.notes(result, len(result.cases)):
            render.note(note)
        if question.file(context.target.folder()).exists():
            render.note(f"Interrupted. Go on with `{question.command()}`.")
        report.check(result, allow_unknown=True)
        raise typer.Exit(INTERRUPTED) from error
    raise AssertionError  # it goes on until Ctrl-C


def _show_rounds(render: Renderer, following: Following) -> None:
    """Show the rounds: on a terminal in one line, elsewhere those that say more than the one before."""
    from fraudctl.services.verify import report
    from fraudctl.services.verify.follow import changes
    from fraudctl.target import Event, Phase

    if render.json:
        render.rows((found.document() for found in changes(following.rounds())), ())
    elif render.structured:
        cases = (report.row(case) for found in changes(following.rounds()) for case in found.new)
        render.rows(cases, report.CASE_COLUMNS)
    elif render.out.isatty() and render.err.isatty():
        with render.progress() as progress:
            for found in following.rounds():
                for case in found.new:
                    render.text(report.line(case))
                progress.show(Event("audit verify", Phase.PROGRESS, found.line))
    else:
        for found in changes(following.rounds()):
            for line in (*map(report.line, found.new), found.line):
                render.text(line)


def repair(context: Context, result: Result, *, yes: bool) -> None:
    """Show what can be written, ask, have it written, and say what is there now; raises `Refused` and `NotAsAsked`."""
    from fraudctl.services.verify import repair as service

    render, target = context.render, context.target
    wanted = service.needed(result)
    plan = wanted.plan(context.settings.stack)
    if not plan.changes:
        render.note("Nothing to repair: no detection is missing from the table that could be written.")
        return
    render.plan(plan)
    render.consent(plan, wanted.question, "Repairing the audit table", given=yes)
    render.events(service.repair(target, wanted))
    wanted.settle(result)
    if render.json:
        render.rows([wanted.document()], ())
    render.note(wanted.note())
    wanted.check()
