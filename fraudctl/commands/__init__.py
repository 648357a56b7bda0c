"""The commands: each declares its inputs, makes one call of a service and hands the result to the renderer.

============  =====================================================
stack         deploy, pause, resume, teardown
demo          demo
status        status
accounts      flag-accounts, accounts list, diff, show
flag_lists    accounts what-if, apply
tail          tail
audit         audit query, show, stats, export, verify
verifying     what audit verify does
seals         audit seal
dead_letters  dead-letters list, show, redrive
transactions  transactions generate, send, start, stop
topics        topics create, list, describe
flink         flink start, stop, status, savepoints
logs          logs
ui            ui flink, topics
============  =====================================================
"""

import inspect
import re
from typing import Final

import typer

from fraudctl.commands import (
    accounts,
    audit,
    dead_letters,
    demo,
    flag_lists,
    flink,
    logs,
    stack,
    status,
    tail,
    topics,
    transactions,
    ui,
)

_EXAMPLE: Final = re.compile(r"^Example: .*$", re.MULTILINE)
_GLOBAL: Final = (
    "Global options, before or after the command: --stack, --target, --region, --profile, -o/--output, --verbose,"
    " --no-color; `fraudctl --help` has them."
)


def register(app: typer.Typer) -> None:
    """Add every command to the root application, in the order in which `--help` lists them."""
    app.command()(demo.demo)
    app.command()(stack.deploy)
    app.command()(status.status)
    app.command("flag-accounts")(accounts.flag_accounts)
    app.add_typer(accounts.app, name="accounts")
    accounts.app.command("what-if")(flag_lists.what_if)
    accounts.app.command()(flag_lists.apply)
    app.command()(tail.tail)
    app.add_typer(audit.app, name="audit")
    app.add_typer(dead_letters.app, name="dead-letters")
    app.add_typer(transactions.app, name="transactions")
    app.add_typer(topics.app, name="topics")
    app.add_typer(flink.app, name="flink")
    app.command()(logs.logs)
    app.add_typer(ui.app, name="ui")
    app.command()(stack.pause)
    app.command()(stack.resume)
    app.command()(stack.teardown)
    for typers in (app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)):
        for command in typers.registered_commands:
            written = inspect.getdoc(command.callback) or ""
            body = _EXAMPLE.sub("", written).rstrip()
            # "\b" keeps the lines of a paragraph as they are, however narrow the terminal.
            command.help = "\n".join((body, "", "\b", *_EXAMPLE.findall(written)))
            command.epilog = _GLOBAL
