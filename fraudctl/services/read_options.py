"""The options of a command that reads a file of transactions, checked together."""

from fraudctl.errors import BadConfig
from fraudctl.services import mapping as mappings
from fraudctl.services.input_files import check_encoding
from fraudctl.services.transaction_file import FileFormat, ReadOptions

_TAB = {"tab", "\\t", "\t"}


def checked(
    file_format: FileFormat | None,
    *,
    mapping: str | None,
    zone: str | None,
    delimiter: str | None,
    encoding: str | None,
) -> ReadOptions:
    """Return the options as the reader takes them.

    Raises:
        BadConfig: The mapping has a wrong key, or the zone, the encoding or the delimiter is none.
    """
    check_encoding(encoding)
    sign = "\t" if delimiter in _TAB else delimiter
    if sign is not None and (len(sign) != 1 or sign.isalnum() or sign in '"\r\n'):
        raise BadConfig(f"--delimiter {delimiter!r}: not one sign", hint="use , or ; or | or tab")
    return ReadOptions(
        file_format=file_format,
        delimiter=sign,
        encoding=encoding,
        mapping=None if mapping is None else mappings.load(mapping, zone),
        zone=None if zone is None else mappings.zone_of(zone, "--zone"),
    )
