"""The commands: each declares its inputs, makes one call of a service and hands the result to the renderer.

============  =====================================================
stack         deploy, teardown
demo          demo
status        status
accounts      flag-accounts
tail          tail
audit         audit query, show
transactions  transactions generate, send, start, stop
topics        topics create, list, describe
flink         flink start, stop, status, savepoints
logs          logs
============  =====================================================
"""

import typer

from fraudctl.commands import accounts, audit, demo, flink, logs, stack, status, tail, topics, transactions


def register(app: typer.Typer) -> None:
    """Add every command to the root application, in the order in which `--help` lists them."""
    app.command()(demo.demo)
    app.command()(stack.deploy)
    app.command()(status.status)
    app.command("flag-accounts")(accounts.flag_accounts)
    app.command()(tail.tail)
    app.add_typer(audit.app, name="audit")
    app.add_typer(transactions.app, name="transactions")
    app.add_typer(topics.app, name="topics")
    app.add_typer(flink.app, name="flink")
    app.command()(logs.logs)
    app.command()(stack.teardown)
