"""fraudctl audit verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fraudctl.commands import seals
from fraudctl.context import Context
from fraudctl.errors import INTERRUPTED

if TYPE_CHECKING:
    from fraudctl.render import Renderer
    from fraudctl.services.verify.follow import Following
    from fraudctl.services.verify.kept import Question
    from fraudctl.services.verify.reconcile import Result


def verify(  # noqa: PLR0913 - the options
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(help="Transactions published from this time on, written like --since of `audit query`."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Transactions published before this time.")] = None,
    by: Annotated[str | None, typer.Option(metavar="TIME", help="Count each stage by time too: 10m, 1h, 1d.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is new, until Ctrl-C; faults are shown as found.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show at most N cases of each kind.")] = 10,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same question where Ctrl-C has stopped it.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Have AuditWriter write the detections that are not in the table; asks first."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --repair.")] = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Exit 0 though something could not be checked.")
    ] = False,
    sealed: seals.Sealed = None,
    evidence: seals.Evidence = None,
) -> None:
    """Recompute what had to be detected, and compare it with the topic and the table.

    Reads transactions, flag events, detections, rows and the on-failure destination, and changes nothing without
    --repair. Exits 8 if something is lost, unexpected or different, or could not be checked. With --sealed or
    --evidence, rows are compared with what was sealed, also after Kafka has forgotten them.

    Example: fraudctl audit verify
    Example: fraudctl audit verify --since 1d --by 1h
    Example: fraudctl audit verify --follow
    Example: fraudctl audit verify --repair
    Example: fraudctl audit verify --since 2026-11-24 --until 2026-11-25 --allow-unknown -o json
    Example: fraudctl audit verify --sealed /mnt/elsewhere/seals
    """
    from fraudctl.services import time_options

    context: Context = ctx.obj
    asked = Asked(by=by, follow=follow, limit=limit, resume=resume, repair=repair, yes=yes, allow_unknown=allow_unknown)
    asked.check(bounded=until is not None, sealed=sealed is not None or evidence is not None)
    span = time_options.span(since, until, note=context.render.note)
    if sealed is not None or evidence is not None:
        seals.verify(context, sealed, evidence, span, limit, allow_unknown=allow_unknown)
    else:
        _reconcile(context, asked, (since, until), span)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of one run, beside the time that it is about."""

    by: str | None
    follow: bool
    limit: int
    resume: bool
    repair: bool
    yes: bool
    allow_unknown: bool

    def check(self, *, bounded: bool, sealed: bool) -> None:
        """Raise `BadConfig` for options that do not go together."""
        from fraudctl.errors import BadConfig

        if sealed and (self.by or self.follow or self.resume or self.repair):
            raise BadConfig(
                "--sealed and --evidence: compare rows with seals, and nothing else",
                hint="leave out --by, --follow, --resume and --repair",
            )
        if self.follow and (bounded or self.by or self.repair):
            raise BadConfig("--follow: goes on without end", hint="leave out --until, --by and --repair")


def _reconcile(
    context: Context, asked: Asked, typed: tuple[str | None, str | None], span: tuple[int | None, int | None]
) -> None:
    """Compare with the topics, once or without end; `typed` is the span as it was given."""
    from fraudctl.services.verify import buckets, report
    from fraudctl.services.verify.follow import Following
    from fraudctl.services.verify.kept import Question, forget, kept
    from fraudctl.services.verify.reconcile import Reconciliation

    render, target = context.render, context.running
    question = Question(*typed, asked.by, asked.follow)
    width = None if asked.by is None else buckets.width(asked.by)
    with kept(target.folder(), question, resume=asked.resume, note=render.note) as file:
        if asked.follow:
            _follow(context, Following(target, span[0], file=file), question)
        reconciliation = Reconciliation(target, *span, file=file, by=width)
        try:
            render.events(reconciliation.run())
        except KeyboardInterrupt as error:
            if file is None:
                raise
            render.note(f"Interrupted. Go on with `{question.command()}`.")
            raise typer.Exit(INTERRUPTED) from error
        if file is not None:
            forget(file)
    result = reconciliation.result
    _show(render, result, asked)
    if asked.repair:
        _repair(context, result, yes=asked.yes)
    report.check(result, allow_unknown=asked.allow_unknown)


def _show(render: Renderer, result: Result, asked: Asked) -> None:
    from fraudctl.services.verify import buckets, report

    cases = report.cases(result, asked.limit)
    counted = [] if result.buckets is None else result.buckets.rows()
    if render.json:
        render.rows([report.document(result, cases)], ())
    elif render.structured:
        render.rows(*((cases, report.CASE_COLUMNS) if asked.by is None else (counted, buckets.COLUMNS)))
    else:
        render.rows(report.summary(result), report.SUMMARY_COLUMNS)
        render.rows(buckets.people(counted), buckets.COLUMNS)
        render.rows(cases, report.CASE_COLUMNS)
    for note in report.notes(result, asked.limit):
        render.note(note)


def _follow(context: Context, following: Following, question: Question) -> NoReturn:
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


def _repair(context: Context, result: Result, *, yes: bool) -> None:
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
