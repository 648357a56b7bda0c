"""fraudctl audit seal, and what `audit verify` and `audit export` do with seals."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fraudctl.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fraudctl.services.seal.canonical import Identity
    from fraudctl.target import Target

_EXPLAINED: Final = 50  # each takes some tenths of a second, and up to a second on a busy machine
Sealed = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|s3://…", help="Compare the rows with these seals of `audit seal`, not with the topics."
    ),
]
Evidence = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Check a file of `audit export --evidence`, without a stack and a network."),
]
Packed = Annotated[
    Path | None,
    typer.Option(
        "--evidence", metavar="FILE", help="Write whole sealed windows, with seals and evidence, to this zip file."
    ),
]
From = Annotated[
    str | None, typer.Option("--sealed", metavar="FOLDER|s3://…", help="Where the seals for --evidence lie.")
]


def seal(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option(metavar="FOLDER|s3://BUCKET/PREFIX", help="Where the seals go: not where the table is.")
    ],
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="Length of a window, by the time of detection in UTC: 10m, 1h, 1d.")
    ] = "1h",
    since: Annotated[
        str | None,
        typer.Option(help="Where the first run begins, instead of at the oldest row: 7d (ago), 2026-11-24."),
    ] = None,
    with_faults: Annotated[
        bool, typer.Option("--with-faults", help="Seal a window though `audit verify` finds faults in it.")
    ] = False,
) -> None:
    """Write digests of the rows, which prove later that none was changed, deleted or added.

    For each window that is closed, and each partition of processed_topic: number of rows, sum, SHA-256 and the verdicts
    of `audit verify`, chained to the window before. A window is closed when the Flink application and AuditWriter have
    read everything up to hold and slack behind its end. Run it as often as you like: it seals what is new. Exits 8 at
    a window with faults.

    Example: fraudctl audit seal --to /mnt/elsewhere/seals
    Example: fraudctl audit seal --to s3://my-seals/fraud-detection --every 1h
    Example: fraudctl audit seal --to seals --every 10m --since 2026-11-24
    """
    from fraudctl.services import time_options
    from fraudctl.services.seal import report, sealing

    context: Context = ctx.obj
    length = sealing.every(every)
    archive = context.archive(to)
    first = None if since is None else time_options.parse(since, "--since", note=context.render.note)
    run = sealing.Sealing(context.running, archive, length, since=first, with_faults=with_faults)
    context.render.events(run.run())
    if first is not None and run.result.began is None:
        context.render.note("--since is for the first run: there are seals already, and they go on where they end.")
    context.render.rows((window.cells() for window in run.result.windows), report.SEALED_COLUMNS)
    for note in report.sealed_notes(run.result, archive.place):
        context.render.note(note)
    report.check_sealed(run.result)


def verify(
    context: Context,
    sealed: str | None,
    evidence: Path | None,
    span: tuple[int | None, int | None],
    limit: int,
    *,
    allow_unknown: bool,
) -> None:
    """Compare rows with seals: of the audit table, or of a file of evidence."""
    from fraudctl.errors import BadConfig
    from fraudctl.services.seal import report
    from fraudctl.services.seal.check import Check

    render = context.render
    if evidence is not None:
        from fraudctl.services.seal.bundle import Bundle

        if sealed is not None:
            raise BadConfig("--sealed and --evidence cannot be combined", hint="a file of evidence has its seals in it")
        bundle = Bundle(evidence)
        check = Check(bundle, bundle, *span, part=True)
        check.result.altered = bundle.altered
    else:
        from fraudctl.services.seal.rows import TableRows

        target = context.running
        rows = TableRows(target.audit_table(), render.note)
        check = Check(context.archive(sealed or ""), rows, *span, stack=target.stack.outputs().stack)
    render.events(check.run())
    result = check.result
    if render.json:
        render.rows([report.document(result, limit)], ())
    else:
        if not render.structured:
            render.rows((one.cells() for one in result.chains.bad), report.MANIFEST_COLUMNS)
            render.rows((one.cells() for one in result.differing), report.DIFFERING_COLUMNS)
        render.rows((case.cells() for case in report.cases(result, limit)), report.CASE_COLUMNS)
    for note in report.notes(result, limit, int(time.time() * 1000) if evidence is None else None):
        render.note(note)
    report.check(result, allow_unknown=allow_unknown)


def export(context: Context, file: Path, sealed: str | None, since: str | None, until: str | None) -> None:
    """Write sealed windows and what proves them to a file."""
    from fraudctl.errors import BadConfig
    from fraudctl.services import time_options
    from fraudctl.services.seal import bundle
    from fraudctl.services.seal.rows import TableRows

    if sealed is None:
        raise BadConfig("--evidence needs the seals", hint="add --sealed FOLDER, as for `audit seal --to FOLDER`")
    first, end = time_options.span(since, until, note=context.render.note)
    target = context.running
    rows = TableRows(target.audit_table(), context.render.note)
    explain = _explainer(target, context.render.note)
    context.render.events(bundle.export(file, context.archive(sealed), rows, explain, first, end))


def _explainer(target: Target, note: Callable[[str], None]) -> Callable[[Sequence[Identity]], Iterable[dict[str, Any]]]:
    from fraudctl.errors import FraudctlError
    from fraudctl.services.verify import chain

    def explain(identities: Sequence[Identity]) -> Iterable[dict[str, Any]]:
        if len(identities) > _EXPLAINED:
            note(f"The evidence of Kafka is in the file for the newest {_EXPLAINED:,} of {len(identities):,} rows.")
        for account, date, transaction in identities[-_EXPLAINED:]:
            with suppress(FraudctlError):
                for row, found in chain.explained(target, transaction):
                    if (row.account_id, row.transaction_date) == (account, date):
                        yield {"account_id": account, "transaction_id": transaction, **chain.document(found)}

    return explain
