"""The flag events of each account by its number, a million of them in some 70 MB; taken out one account at a time."""

from array import array
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping
from typing import Final

from fraudctl import tables
from fraudctl.pipeline import topics
from fraudctl.pipeline.reader import Records as Columns
from fraudctl.services.flags.packed import PackedFlags
from fraudctl.services.flags.rule import History
from fraudctl.target import Event, From, Phase, Range, Records

_NEVER: Final = 2**62


class Histories(Mapping[int, History]):
    """All flag events by account; a `History` is made each time when one is asked for."""

    def __init__(self, flags: PackedFlags) -> None:
        """Put the events in order."""
        self._flags = flags
        self._accounts, self._starts, self._rows = array("q"), array("q"), array("q")
        for account, rows in flags.rows():
            self._accounts.append(account)
            self._starts.append(len(self._rows))
            self._rows.extend(rows)
        self._starts.append(len(self._rows))

    def __getitem__(self, account: int) -> History:
        """Return an account's events; raises KeyError when it has none."""
        at = bisect_left(self._accounts, account)
        if at == len(self._accounts) or self._accounts[at] != account:
            raise KeyError(account)
        return History(map(self._flags.event, self._rows[self._starts[at] : self._starts[at + 1]]))

    def __iter__(self) -> Iterator[int]:
        """Yield the accounts in order."""
        return iter(self._accounts)

    def __len__(self) -> int:
        """Return how many accounts have events."""
        return len(self._accounts)


def read(records: Records) -> Generator[Event, None, Histories]:
    """Yield events while the whole flag topic is read, and return what it has.

    Raises:
        NotDeployed: There is no such topic.
        Unreachable: Kafka does not answer.
    """
    # The rule asks for the last 64 events at any moment, so none may be dropped.
    flags = PackedFlags(full=_NEVER)
    yield Event(topics.FLAGGED.name, Phase.STARTED)
    for batch in records.batches(topics.FLAGGED.name, Range(From.BEGINNING, follow=False)):
        found = batch.records
        flags.add(found if isinstance(found, Columns) else Columns(topics.FLAGGED.name, list(found)))
        yield Event(topics.FLAGGED.name, Phase.PROGRESS, tables.plural(len(flags), "flag event"))
    histories = Histories(flags)
    number = tables.plural(len(flags), "flag event")
    yield Event(topics.FLAGGED.name, Phase.DONE, f"{number} of {tables.plural(len(histories), 'account')}")
    return histories
