"""The records of a file that `fraudctl tail -o json` wrote, to be written to a topic as they are."""

import io
from collections.abc import Iterator
from typing import Final

from fraudctl.errors import BadConfig
from fraudctl.pipeline.topics import Topic
from fraudctl.services import envelopes
from fraudctl.services.input_files import as_utf8, numbered_lines
from fraudctl.services.read_options import FileFormat, ReadOptions
from fraudctl.services.transaction_file import Line

COLUMNS: Final = ("key", "value", "headers")
# The largest record, as text and as base64, with its headers.
_LONGEST_LINE: Final = 16 * 1024 * 1024


def check(topic: Topic, options: ReadOptions, *, paced: bool) -> None:
    """Raise `BadConfig` for options that are about transactions, when the records go to another topic as they are."""
    given = {
        "--map": options.mapping is not None,
        "--zone": options.zone is not None,
        "--delimiter": options.delimiter is not None,
        "--pace": paced,
        f"--format {options.file_format}": options.file_format not in {None, FileFormat.JSONL},
    }
    for name, is_given in given.items():
        if is_given:
            raise BadConfig(
                f"{name}: for transactions; records go to {topic.name} as they are",
                hint=f"leave it out, or --topic {topic.alias}",
            )


def lines(stream: io.BufferedReader, name: str, options: ReadOptions) -> Iterator[Line]:
    """Yield every line that is not blank, as the record that it is of; raises `BadConfig` for damaged compression."""
    utf8 = as_utf8(stream, name, options.encoding)
    for number, value in numbered_lines(utf8, _LONGEST_LINE):
        yield Line(number, None, f"over {_LONGEST_LINE} bytes") if value is None else _line(number, value)


def _line(number: int, value: bytes) -> Line:
    try:
        found = envelopes.opened(value)
    except envelopes.BadEnvelope as error:
        return Line(number, None, str(error))
    if found is None:
        return Line(number, None, "not a record as `fraudctl tail -o json` prints it")
    return Line(number, found)
