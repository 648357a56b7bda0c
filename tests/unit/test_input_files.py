"""Files in any encoding, compressed or not, as one stream of UTF-8."""

import gzip
import io
import sys

import pytest

from fraudctl.errors import BadConfig
from fraudctl.services.input_files import as_utf8

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "Renée,Müller 山田\n" * 20_000


def read(data: bytes, encoding: str | None = None) -> bytes:
    """Read it whole."""
    return as_utf8(io.BufferedReader(io.BytesIO(data)), "file", encoding).read()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_file_itself_says_how_it_is_written(compress: object, encoding: str) -> None:
    """By its first bytes; a byte-order mark is no content."""
    assert callable(compress)
    assert read(compress(TEXT.encode(encoding))) == TEXT.encode()


def test_an_encoding_can_be_named() -> None:
    """What does not say how it is written; a mark of another encoding is text."""
    assert read("Renée €".encode("cp1252"), "cp1252") == "Renée €".encode()
    assert read(TEXT.encode("utf-16-le"), "utf-16-le") == TEXT.encode()
    assert read(b"Ren\xe9e", None) == b"Ren\xe9e"
    assert read(b"", "latin-1") == b""


def test_several_compressed_parts_are_one_file() -> None:
    """As `cat a.gz b.gz` makes them."""
    assert read(gzip.compress(b"a\n") + gzip.compress(b"b\n")) == b"a\nb\n"
    assert read(zstd.compress(b"a\n") + zstd.compress(b"b\n")) == b"a\nb\n"


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (gzip.compress(TEXT.encode())[:-20], None, "file file: damaged gzip data: "),
        (gzip.compress(TEXT.encode())[:30] + b"\0" * 500, None, "file file: damaged gzip data: "),
        (zstd.compress(TEXT.encode())[:-20], None, "file file: damaged Zstandard data: "),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, None, "file file: damaged Zstandard data: "),
        (b"caf\xe9", "ascii", "file file: not ascii at byte 4"),
        ("ab".encode("utf-16") + b"c", None, "file file: not utf-16-le at byte 7"),
        (b"", "nonsense", "--encoding nonsense: unknown encoding"),
        (b"", "base64", "--encoding base64: unknown encoding"),
    ],
)
def test_damage_is_named(data: bytes, encoding: str | None, said: str) -> None:
    """As an error of the file, not of a library."""
    with pytest.raises(BadConfig) as raised:
        read(data, encoding)
    assert str(raised.value).startswith(said)
    assert raised.value.hint
