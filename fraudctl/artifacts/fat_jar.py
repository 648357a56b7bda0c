"""One jar out of many, always the same bytes: Managed Flink takes an application with its libraries as one file."""

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraudctl.artifacts.jars import cache_file, write_zip
from fraudctl.errors import OperationFailed

# Part of the hash: raise it when the way a jar is merged changes.
_FORMAT: Final = "1"
_MANIFEST: Final = "META-INF/MANIFEST.MF"
_SERVICES: Final = "META-INF/services/"
# A signature covers the jar it was made for, an index lists it, a module's description names its packages.
_DROPPED: Final = re.compile(
    r"META-INF/([^/]+\.(SF|DSA|RSA|EC)|INDEX\.LIST)|(META-INF/versions/\d+/)?module-info\.class"
)
_LICENCE: Final = re.compile(
    r"META-INF/(?P<name>[^/]*(LICENSE|NOTICE|DEPENDENCIES|COPYRIGHT)[^/]*|licenses?/.+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FatJar:
    """The jar `application` with `libraries` in it; `pins` identifies their content (coordinates and sha256)."""

    name: str
    application: Path
    libraries: tuple[Path, ...]
    pins: tuple[str, ...]
    main_class: str
    out_dir: Path

    def path(self) -> Path:
        """Return where the jar is, or will be: ``<name>-<hash>.jar``.

        The hash covers the application's content and the pins, not the bytes of the result: another zlib compresses the
        same content otherwise, and that is no reason to deploy again.
        """
        digest = hashlib.sha256()
        for text in (_FORMAT, self.main_class, *self.pins):
            digest.update(text.encode() + b"\0")
        for name, data in _entries(self.application):
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return self.out_dir / f"{self.name}-{digest.hexdigest()[:12]}.jar"

    def make(self) -> Path:
        """Return the jar, merged unless it is there already; it appears in one step.

        Raises `OperationFailed` when two jars hold different versions of a class, or the folder cannot be written.
        """
        target = self.path()
        if target.is_file():
            return target
        with cache_file(self.name, target) as partial:
            write_zip(partial, merged((self.application, *self.libraries), self.main_class))
        return target


def merged(jars: Sequence[Path], main_class: str) -> list[tuple[str, bytes]]:
    """Return the entries of all jars as one jar's: the manifest first, then by name.

    Service files are joined, licences lie below ``META-INF/licenses/<jar>``, signatures are left out. Of other files
    with one name the first wins; two different classes of one name raise `OperationFailed`.
    """
    entries: dict[str, bytes] = {}
    services: dict[str, list[str]] = {}
    for jar in jars:
        for name, data in _entries(jar):
            if name == _MANIFEST or _DROPPED.fullmatch(name):
                continue
            licence = _LICENCE.fullmatch(name)
            if licence:
                entries[f"META-INF/licenses/{jar.stem}/{licence['name']}"] = data
            elif name.startswith(_SERVICES):
                services.setdefault(name, []).extend(_providers(data))
            elif entries.setdefault(name, data) != data and name.endswith(".class"):
                raise OperationFailed(
                    f"{jar.name}: its class {name} differs from the one in another library",
                    hint="change the versions in flink/aws.lock",
                )
    for name, providers in services.items():
        entries[name] = "".join(f"{provider}\n" for provider in dict.fromkeys(providers)).encode()
    lines = ["Manifest-Version: 1.0", f"Main-Class: {main_class}"]
    if any(name.startswith("META-INF/versions/") for name in entries):
        lines.append("Multi-Release: true")
    manifest = "".join(f"{line}\r\n" for line in (*lines, ""))
    return [(_MANIFEST, manifest.encode()), *sorted(entries.items())]


def _entries(jar: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(jar) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                yield entry.filename, archive.read(entry)


def _providers(data: bytes) -> Iterable[str]:
    lines = (line.split("#", 1)[0].strip() for line in data.decode().splitlines())
    return [line for line in lines if line]
