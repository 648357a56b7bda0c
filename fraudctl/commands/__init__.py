"""The commands: declare inputs, make one call, hand the result to the renderer."""

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
