"""Files as people have them, as one stream of UTF-8: compressed with gzip or Zstandard, in UTF-8, UTF-16 or Latin-1."""

import codecs
import io
import zlib
from collections.abc import Iterator
from typing import Final, cast

from fraudctl.errors import BadConfig

# RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CHUNK: Final = 64 * 1024

LATIN_1_HINT: Final = "add --encoding latin-1"


def check_encoding(encoding: str | None) -> None:
    """Raise `BadConfig` unless Python knows the text encoding."""
    if encoding is None:
        return
    try:
        text = codecs.lookup(encoding)._is_text_encoding  # noqa: SLF001 - what open() itself asks
    except (LookupError, ValueError):  # ValueError: a null character in the name
        text = False
    if not text:
        raise BadConfig(f"--encoding {encoding}: unknown encoding", hint="use utf-8, latin-1, cp1252 or utf-16")


def as_utf8(stream: io.BufferedReader, name: str, encoding: str | None = None) -> io.BufferedReader:
    """Return the content decompressed and as UTF-8 without a byte-order mark; `name` is for error messages.

    Compression is recognised by the first bytes, UTF-16 by its byte-order mark. Without `encoding`, anything else is
    passed on as it is, so that the reader can report the line that is not UTF-8.

    Raises:
        BadConfig: The compressed data is damaged or cut off, or the bytes are not in the encoding; also while reading.
    """
    check_encoding(encoding)
    plain = _decompressed(stream, name)
    start = plain.peek(4)
    chosen = encoding or next((codec for mark, codec in _UTF16.items() if start.startswith(mark)), None)
    if chosen is None or codecs.lookup(chosen).name in {"utf-8", "utf-8-sig"}:
        if start.startswith(codecs.BOM_UTF8):
            plain.read(len(codecs.BOM_UTF8))
        return plain
    return io.BufferedReader(_Utf8(plain, chosen, name), _CHUNK)


def numbered_lines(stream: io.BufferedReader, longest: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number and the text of every line that is not blank; None for one of over `longest` bytes."""
    number = 0
    while line := stream.readline(longest):
        number += 1
        if not line.endswith(b"\n") and len(line) == longest:
            while (rest := stream.readline(longest)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif value := line.strip(b" \t\r\n"):
            yield number, value


def plain_name(name: str) -> str:
    """Return the name in lower case without the ending of a compressed file."""
    return name.lower().removesuffix(".gz").removesuffix(".zst")


def _decompressed(stream: io.BufferedReader, name: str) -> io.BufferedReader:
    start = stream.peek(4)
    if start.startswith(_GZIP):
        import gzip  # not for `--help`: they take milliseconds

        return io.BufferedReader(_Whole(gzip.GzipFile(fileobj=stream, mode="rb"), name, "gzip"), _CHUNK)
    if start.startswith(_ZSTD):
        return io.BufferedReader(_Whole(_zstd(stream), name, "Zstandard"), _CHUNK)
    return stream


def _zstd(stream: io.BufferedReader) -> io.RawIOBase:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast("io.RawIOBase", zstd.ZstdFile(stream))


class _Whole(io.RawIOBase):
    """Decompressed bytes; damage is `BadConfig`, not a traceback out of a library."""

    def __init__(self, source: io.RawIOBase | io.BufferedIOBase, name: str, kind: str) -> None:
        """Store the decompressing stream; no I/O."""
        self._source, self._name, self._kind = source, name, kind

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # the buffer protocol's names differ
        """Fill the buffer; raises `BadConfig` for damaged data."""
        try:
            data = self._source.read(len(buffer)) or b""
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(error) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # the module exists only where a file needs it
                raise
            raise self._damaged(error) from error
        buffer[: len(data)] = data
        return len(data)

    def _damaged(self, error: Exception) -> BadConfig:
        return BadConfig(
            f"file {self._name}: damaged {self._kind} data: {error}", hint="copy or download the file again"
        )


class _Utf8(io.RawIOBase):
    """Text in another encoding, as UTF-8."""

    def __init__(self, source: io.BufferedReader, encoding: str, name: str) -> None:
        """Store the source; no I/O."""
        self._source, self._name, self._encoding = source, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._read = 0
        self._started = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # the buffer protocol's names differ
        """Fill the buffer; raises `BadConfig` for bytes that are not in the encoding."""
        while not self._ready:
            data = self._source.read1(_CHUNK)
            text = self._decode(data)
            if text and not self._started:
                self._started = True
                text = text.removeprefix("\ufeff")
            self._ready = text.encode("utf-8", "surrogatepass")
            self._read += len(data)
            if not data:
                break
        part = self._ready[: len(buffer)]
        self._ready = self._ready[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The decoder may have kept bytes of the chunk before: they are part of its object.
            place = self._read + len(data) - len(error.object) + error.start + 1
            raise BadConfig(
                f"file {self._name}: not {self._encoding} at byte {place:,}", hint="give --encoding as the file has it"
            ) from error
