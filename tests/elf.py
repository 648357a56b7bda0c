"""What a shared library in ELF says of itself: its machine and what it needs (System V ABI, chapters 4 and 5)."""

import struct
from dataclasses import dataclass
from typing import Final

MACHINES: Final = {62: "x86_64", 183: "arm64"}
_DYNAMIC, _LOAD = 2, 1
_NEEDED, _STRINGS = 1, 5
_GNU_VERSIONS, _GNU_VERSIONS_NUMBER = 0x6FFFFFFE, 0x6FFFFFFF


@dataclass(frozen=True)
class Library:
    """One library: its machine, the libraries that it needs, the symbol versions that it wants of each of them."""

    machine: str
    needed: frozenset[str]
    versions: frozenset[tuple[str, str]]


def library(data: bytes) -> Library:
    """Read a 64-bit little-endian ELF file."""
    assert data[:6] == b"\x7fELF\x02\x01", "no ELF file of 64 bits, least significant byte first"
    (machine,) = struct.unpack_from("<H", data, 18)
    (headers,) = struct.unpack_from("<Q", data, 32)
    size, number = struct.unpack_from("<HH", data, 54)
    # Each program header: type, flags, offset, virtual address, physical address, size in the file, …
    segments = [struct.unpack_from("<IIQQQQ", data, headers + size * index) for index in range(number)]

    def offset(address: int) -> int:
        for kind, _, start, virtual, _, length in segments:
            if kind == _LOAD and virtual <= address < virtual + length:
                return int(start + address - virtual)
        raise AssertionError(f"{address:#x} is in no segment")

    entries: list[tuple[int, int]] = []
    for kind, _, start, _, _, length in segments:
        if kind == _DYNAMIC:
            entries += struct.iter_unpack("<QQ", data[start : start + length])
    single = dict(entries)
    strings = offset(single[_STRINGS])

    def text(at: int) -> str:
        return data[strings + at : data.index(b"\0", strings + at)].decode()

    versions: set[tuple[str, str]] = set()
    at = offset(single[_GNU_VERSIONS]) if _GNU_VERSIONS in single else 0
    for _ in range(single.get(_GNU_VERSIONS_NUMBER, 0)):
        # Verneed: version, count, file, first of its entries, next.
        _, count, file, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            # Vernaux: hash, flags, other, name, next.
            _, _, _, name, step = struct.unpack_from("<IHHII", data, entry)
            versions.add((text(file), text(name)))
            entry += step
        at += following
    needed = frozenset(text(value) for tag, value in entries if tag == _NEEDED)
    return Library(MACHINES.get(machine, str(machine)), needed, frozenset(versions))
