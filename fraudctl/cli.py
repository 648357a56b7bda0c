"""The fraudctl command line: global options, wiring, and the one error boundary."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from fraudctl import commands, config, usage
from fraudctl.commands import completion
from fraudctl.context import Context
from fraudctl.errors import INTERRUPTED, FraudctlError, OperationFailed, Unreachable
from fraudctl.hints import Invocation
from fraudctl.pipeline.version import VERSION

if TYPE_CHECKING:
    from fraudctl.render import Renderer

_BUG: Final = 1
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
# Global options, and whether each takes a value. They are accepted before or after the command.
GLOBAL_OPTIONS: Final = {
    "--target": True,
    "--stack": True,
    "--region": True,
    "--profile": True,
    "--output": True,
    "-o": True,
    "--verbose": False,
    "--no-color": False,
}
_WITH_VALUE: Final = frozenset(name for name, takes_value in GLOBAL_OPTIONS.items() if takes_value)
_TYPED: Final = "fraudctl.typed"


def move_globals_first(arguments: list[str]) -> list[str]:
    """Move the global options to the front, up to ``--``; the order is kept otherwise."""
    moved: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
            break
        name, equals, _ = argument.partition("=")
        if name not in GLOBAL_OPTIONS:
            (moved if argument.startswith("-o") else rest).append(argument)  # -ojson
        elif equals or not GLOBAL_OPTIONS[name]:
            moved.append(argument)
        elif (following := next(remaining, None)) is not None:
            moved += [argument, following]
        else:
            return [*moved, argument]  # alone, so that the parser says what is missing: its value
    return moved + rest


class Root(TyperGroup):
    """The root group: moves global options to the front, and turns errors into one line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's vendored Context
        """Parse with the global options first and aliases replaced; without arguments, print the help."""
        with _boundary(ctx, args):
            if not args and not ctx.resilient_parsing:
                typer.echo(ctx.get_help())
                raise typer.Exit
            ctx.meta[_TYPED] = args
            return super().parse_args(ctx, usage.rewrite(move_globals_first(args), GLOBAL_OPTIONS, _WITH_VALUE))

    def _main_shell_completion(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Typer's own
        if config.completes():
            completion.prepare()
        super()._main_shell_completion(*args, **options)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's vendored Context
        """Run the command; an error becomes a line on stderr and its exit code."""
        with _boundary(ctx, ctx.meta[_TYPED]):
            return super().invoke(ctx)


@contextlib.contextmanager
def _boundary(ctx: Any, typed: Sequence[str]) -> Iterator[None]:  # noqa: ANN401 - Typer's vendored Context
    """Turn every way in which a command can fail into a line on stderr and an exit code."""
    try:
        yield
    except FraudctlError as error:
        _fail(ctx, error)
    except KeyboardInterrupt as error:
        _renderer(ctx).note("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:  # the reader has what it wanted: `fraudctl tail … | head`
        _silence_stdout()
        raise typer.Exit(0) from error
    except (typer.Exit, typer.Abort):
        raise
    except TyperException as error:  # a usage error, or a group without a command, which prints its help
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        _fail(ctx, usage.explained(error, typed))
    except Exception as error:  # noqa: BLE001 - the boundary: what is not ours is a bug, unless a library says otherwise
        _fail(ctx, _known(error) or error)


def _known(error: Exception) -> FraudctlError | None:
    """Translate the library errors that mean the same everywhere."""
    botocore = sys.modules.get("botocore.exceptions")  # loaded if it raised
    if botocore is not None and isinstance(error, botocore.BotoCoreError):
        return Unreachable(f"AWS: {error}", hint="check credentials, region and network, then run `fraudctl status`")
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        _silence_stdout()
        return OperationFailed(
            f"{error.filename or 'disk'}: {error.strerror}", hint="free some space, then run the command again"
        )
    return None


def _silence_stdout() -> None:
    """Send what is buffered nowhere: Python would complain when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _renderer(ctx: Any) -> "Renderer":  # noqa: ANN401 - Typer's vendored Context
    from fraudctl.render import Renderer

    return ctx.obj.render if isinstance(ctx.obj, Context) else Renderer(invocation=Invocation(config.called_as()))


def _fail(ctx: Any, error: Exception) -> NoReturn:  # noqa: ANN401 - Typer's vendored Context
    render = _renderer(ctx)
    verbose = ctx.obj.settings.verbose if isinstance(ctx.obj, Context) else bool(ctx.params.get("verbose"))
    if isinstance(error, FraudctlError):
        render.error(str(error), error.hint, error.excerpt)
        if verbose:
            _note(render, "".join(traceback.format_exception(error)))
        raise typer.Exit(error.exit_code) from error
    text = "".join(traceback.format_exception(error))
    if verbose:
        _note(render, text)
    where = _keep(ctx, text)
    render.error(f"{type(error).__name__}: {error}: this is a bug in fraudctl", f"the traceback is in {where}")
    raise typer.Exit(_BUG) from error


def _note(render: "Renderer", text: str) -> None:
    for line in text.splitlines():
        render.note(line)


def _keep(ctx: Any, text: str) -> str:  # noqa: ANN401 - Typer's vendored Context
    if not isinstance(ctx.obj, Context):
        return "the output of --verbose"
    path = ctx.obj.settings.home / "bug.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return "the output of --verbose"
    return str(path)


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(value: bool) -> None:
    if value:
        from fraudctl.render import Renderer

        Renderer().text(f"fraudctl {VERSION}")
        raise typer.Exit


@app.callback()
def root(  # noqa: PLR0913 - the global options
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(help="Where the pipeline runs: local (the default) or aws.", autocompletion=completion.targets),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(help="Name of the stack; fraud-detection by default.", autocompletion=completion.stacks),
    ] = None,
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="table, json (JSON Lines) or csv; by default a table on a terminal, json in a pipe.",
            autocompletion=completion.outputs,
        ),
    ] = None,
    verbose: Annotated[bool | None, typer.Option("--verbose", help="Say more, tracebacks included.")] = None,
    no_color: Annotated[bool | None, typer.Option("--no-color", help="Print without colour.")] = None,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Deploy, drive, watch and prove a real-time fraud detection pipeline.

    The global options work before or after any command.

    Example: fraudctl deploy
    """
    if ctx.obj is not None:
        return
    from fraudctl.render import Renderer

    settings = config.load(
        {
            "target": target,
            "stack": stack,
            "region": region,
            "profile": profile,
            "output": output,
            "verbose": verbose,
            "color": False if no_color else None,
        }
    )
    invocation = Invocation.of(settings, config.called_as())
    ctx.obj = Context(settings, Renderer(settings.output, color=settings.color, invocation=invocation))


commands.register(app)
