"""What the options of a query of the audit table mean together, and the token that a further page begins with."""

import base64
import hashlib
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Final, Self

from fraudctl.errors import BadConfig
from fraudctl.pipeline.audit_table import AuditRow
from fraudctl.pipeline.records import MAX_INT64
from fraudctl.services import time_options
from fraudctl.services.audit.table import Place, Query
from fraudctl.services.where import compile_where

_HINT: Final = "copy the whole token that the page before ended with"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options as they were given."""

    account: int | None = None
    since: str | None = None
    until: str | None = None
    where: str | None = None
    oldest_first: bool = False

    def words(self) -> list[str]:
        """Return the options again, as arguments of a command."""
        pairs = (("--since", self.since), ("--until", self.until), ("--where", self.where))
        named = [word for name, value in pairs if value is not None for word in (name, value)]
        first = [] if self.account is None else [str(self.account)]
        return [*first, *named, *(["--oldest-first"] if self.oldest_first else [])]

    def digest(self) -> str:
        """Return what tells these options from others."""
        return hashlib.sha256(json.dumps(self.words()).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that is ready to be asked. `asked_at` is the time, in epoch seconds, that relative times count from."""

    query: Query
    wanted: Wanted
    asked_at: float

    def token(self, last: AuditRow) -> str:
        """Return the token of the page behind a row."""
        content = [1, self.wanted.digest(), round(self.asked_at * 1000), *astuple(Place.of(last))]
        return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")

    def next_command(self, last: AuditRow, *more: str) -> str:
        """Return the command that shows the page behind a row; `more` are options that change nothing of the query."""
        return "fraudctl audit query " + shlex.join([*self.wanted.words(), *more, "--next", self.token(last)])


@dataclass(frozen=True, slots=True)
class _Token:
    digest: str
    asked_at: float
    place: Place

    @classmethod
    def read(cls, text: str) -> Self:
        try:
            content = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            _, digest, asked_at, account, *dates = content
            return cls(str(digest), int(asked_at) / 1000, Place(int(account), *map(str, dates)))
        except (ValueError, TypeError) as error:
            raise BadConfig("--next: not a token of `fraudctl audit query`", hint=_HINT) from error


def prepare(
    wanted: Wanted,
    token: str | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> Prepared:
    """Return the query that the options ask for; `note` is told what times without a zone were read as.

    With a token, relative times count from when its first page was asked for, so that all pages are of one query.

    Raises:
        BadConfig: An option is not what it should be, or the token is of a query with other options.
    """
    if wanted.account is not None and not 1 <= wanted.account <= MAX_INT64:
        raise BadConfig(f"account {wanted.account}: not an account number", hint="write it like 1000000003")
    found = None if token is None else _Token.read(token)
    if found is not None and found.digest != wanted.digest():
        raise BadConfig(
            "--next: the token is of a query with other options",
            hint="give the same account, --since, --until, --where and --oldest-first as for the page before",
        )
    asked_at = found.asked_at if found is not None else clock()
    say = note if found is None else lambda _: None
    since, until = time_options.span(wanted.since, wanted.until, clock=lambda: asked_at, note=say)
    where = None
    if wanted.where is not None:
        where = compile_where(wanted.where, clock=lambda: asked_at)
        if where.needs_record:
            raise BadConfig("--where: an audit row is no Kafka record", hint="use its columns, such as amount > 500")
        for line in where.notes:
            say(line)
    after = found.place if found is not None else None
    return Prepared(Query(wanted.account, since, until, wanted.oldest_first, where, after), wanted, asked_at)
