"""Lambda zips, wheels and the fat jar: the same bytes every time, and nothing of the Python that builds them."""

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudctl.artifacts import bundles
from fraudctl.artifacts.fat_jar import FatJar, merged
from fraudctl.artifacts.jars import MAIN_CLASS, write_zip
from fraudctl.artifacts.pins import Artifact, Lock
from fraudctl.artifacts.resources import PACKAGE, resource
from fraudctl.artifacts.wheels import WheelLock, Wheels
from fraudctl.errors import BadConfig, OperationFailed, Unreachable
from fraudctl.pipeline.names import FUNCTIONS

Done = subprocess.CompletedProcess[str]


def contents(archive: Path) -> dict[str, bytes]:
    """Give a zip's entries."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    """Write a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_zip(path, entries.items())
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with a package, its shared library and its description."""
    entries = {"client/__init__.py": b"", "client.libs/lib.so": b"\x7fELF" * 99, "client-1.dist-info/METADATA": b"x"}
    return archive(tmp_path / "client-1-py3-none-any.whl", entries)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, wheel: Path) -> None:
    """Two folders, two times, one content: same name and same bytes."""
    first, second = (
        bundles.lambda_zip("flag_account_generator", tmp_path / place, [wheel]) for place in ("one", "two")
    )
    assert first.path.name == second.path.name
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_zip_holds_the_function_the_pipeline_and_the_wheels(tmp_path: Path, wheel: Path) -> None:
    """The handler lies at the root, the package is the pipeline alone, and the wheels are unpacked beside it."""
    built = bundles.lambda_zip("flag_account_generator", tmp_path, [wheel])
    found = contents(built.path)
    handler = resource("lambdas") / "flag_account_generator" / "handler.py"
    assert found["handler.py"] == handler.read_bytes()
    assert found["fraudctl/__init__.py"] == b""
    assert found["client.libs/lib.so"] == b"\x7fELF" * 99
    pipeline = {f"fraudctl/pipeline/{file.name}" for file in (PACKAGE / "pipeline").glob("*.py")}
    assert {name for name in found if name.startswith("fraudctl/")} == pipeline | {"fraudctl/__init__.py"}
    assert {name.split("/")[0] for name in found} == {
        "client",
        "client-1.dist-info",
        "client.libs",
        "fraudctl",
        "handler.py",
    }
    assert built.size_bytes == built.path.stat().st_size
    assert 0 < built.import_ms < 60_000


def test_another_wheel_is_another_zip(tmp_path: Path, wheel: Path) -> None:
    """The name follows the content: with a wheel or without, the key differs."""
    plain = bundles.lambda_zip("flag_account_generator", tmp_path)
    assert plain.path.name != bundles.lambda_zip("flag_account_generator", tmp_path, [wheel]).path.name
    assert plain.path.name.startswith("FlagAccountGenerator-")
    assert len(plain.path.stem.rsplit("-", 1)[1]) == 12


def test_a_zip_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    """The second build leaves the file alone."""
    first = bundles.lambda_zip("audit_writer", tmp_path)
    before = first.path.stat().st_mtime_ns
    assert bundles.lambda_zip("audit_writer", tmp_path).path.stat().st_mtime_ns == before
    assert [file.name for file in tmp_path.iterdir()] == [first.path.name]


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_handlers_are_imported_without_any_site_package(tmp_path: Path, folder: str) -> None:
    """What a handler imports at once is in its zip or in Python: boto3 and Kafka's client come with the first call."""
    assert bundles.lambda_zip(folder, tmp_path).import_ms > 0


def test_a_zip_that_cannot_be_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that needs what the zip lacks fails here, with the reason, and not in AWS."""
    (tmp_path / "lambdas" / "audit_writer").mkdir(parents=True)
    (tmp_path / "lambdas" / "audit_writer" / "handler.py").write_text("import nowhere\n", encoding="utf-8")
    monkeypatch.setattr(bundles, "resource", lambda name: tmp_path / name)
    with pytest.raises(OperationFailed, match=r"AuditWriter: .*No module named 'nowhere'"):
        bundles.lambda_zip("audit_writer", tmp_path / "out")


def test_a_zip_too_large_for_lambda_is_refused(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's limit counts unpacked bytes."""
    monkeypatch.setattr(bundles, "LARGEST_BYTES", 1000)
    with pytest.raises(OperationFailed, match="Lambda takes 1000"):
        bundles.lambda_zip("audit_writer", tmp_path / "out", [wheel])


# --- wheels ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lock(tmp_path: Path, wheel: Path) -> WheelLock:
    """A lock that pins the wheel."""
    path = tmp_path / "requirements.lock"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    path.write_text(f"# why\nclient==1 --hash=sha256:{digest}  # and more\n\n", encoding="utf-8")
    return WheelLock.load(path)


def pip(wheel: Path | None, *, code: int = 0, says: str = "") -> tuple[list[list[str]], Callable[[list[str]], Done]]:
    """Give a pip that puts a file into the destination, and the list of its calls."""
    calls: list[list[str]] = []

    def run(command: list[str]) -> Done:
        calls.append(command)
        if wheel is not None:
            shutil.copy(wheel, command[command.index("--dest") + 1])
        return Done(command, code, "", says)

    return calls, run


def test_wheels_are_fetched_once_for_the_functions_platform(tmp_path: Path, lock: WheelLock, wheel: Path) -> None:
    """Pip is asked for Lambda's platform with hashes required; afterwards nothing is fetched."""
    calls, run = pip(wheel)
    wheels = Wheels(tmp_path / "cache", lock, run=run)
    assert [pin.name for pin in wheels.missing()] == ["client"]
    (first,), (second,) = wheels.ensure(), wheels.ensure()
    assert first == second
    assert first.read_bytes() == wheel.read_bytes()
    assert wheels.missing() == []
    (command,) = calls
    for option, value in (("--platform", "manylinux_2_28_aarch64"), ("--python-version", "3.13")):
        assert command[command.index(option) + 1] == value
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
    assert not any("://" in argument for argument in command)  # the index is the user's own


def test_a_damaged_wheel_is_fetched_again(tmp_path: Path, lock: WheelLock, wheel: Path) -> None:
    """The hash decides, not the file's name."""
    calls, run = pip(wheel)
    wheels = Wheels(tmp_path / "cache", lock, run=run)
    (path,) = wheels.ensure()
    path.write_bytes(b"broken")
    assert wheels.ensure() == [path]
    assert path.read_bytes() == wheel.read_bytes()
    assert len(calls) == 2


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, lock: WheelLock) -> None:
    """Whatever pip says, only the pinned bytes are packed."""
    other = archive(tmp_path / "other.whl", {"evil.py": b""})
    with pytest.raises(OperationFailed, match="client: not the file that is pinned"):
        Wheels(tmp_path / "cache", lock, run=pip(other)[1]).ensure()


@pytest.mark.parametrize(
    ("says", "error", "match"),
    [
        ("/usr/bin/python: No module named pip", BadConfig, "has no pip"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES from the requirements file", OperationFailed, "not the one"),
        ("WARNING: retrying\nERROR: no matching distribution", Unreachable, "cannot fetch them: ERROR: no matching"),
        ("", Unreachable, "it says nothing"),
    ],
)
def test_what_pip_says_is_translated(
    tmp_path: Path, lock: WheelLock, says: str, error: type[Exception], match: str
) -> None:
    """Each way pip fails has its own error."""
    with pytest.raises(error, match=match):
        Wheels(tmp_path / "cache", lock, run=pip(None, code=1, says=says)[1]).ensure()


def test_a_lock_without_hashes_is_refused(tmp_path: Path) -> None:
    """A line without a hash names its number."""
    path = tmp_path / "requirements.lock"
    path.write_text("# one\nclient==1\n", encoding="utf-8")
    with pytest.raises(BadConfig, match="line 2 is not"):
        WheelLock.load(path)


def test_the_committed_lock_pins_what_the_functions_import() -> None:
    """Kafka's client, its IAM signer and what that declares; boto3 is the runtime's."""
    lock = WheelLock.load(resource("lambdas") / "requirements.lock")
    assert [pin.name for pin in lock.pins] == ["aws-msk-iam-sasl-signer-python", "click", "confluent-kafka"]
    assert "://" not in lock.path.read_text(encoding="utf-8")


# --- the fat jar ----------------------------------------------------------------------------------------------------


@pytest.fixture
def jars(tmp_path: Path) -> tuple[Path, ...]:
    """An application and two libraries with services, licences, signatures and a module."""
    application = archive(
        tmp_path / "app.jar", {"META-INF/MANIFEST.MF": b"Main-Class: old\r\n", "app/Main.class": b"A"}
    )
    one = archive(
        tmp_path / "one-1.jar",
        {
            "META-INF/MANIFEST.MF": b"x",
            "META-INF/services/a.Service": b"# comment\none.Impl\nshared.Impl",
            "META-INF/LICENSE": b"licence of one",
            "META-INF/ONE.SF": b"signature",
            "META-INF/ONE.RSA": b"signature",
            "META-INF/INDEX.LIST": b"index",
            "module-info.class": b"module",
            "version.properties": b"1",
            "lib/Same.class": b"S",
        },
    )
    two = archive(
        tmp_path / "two-2.jar",
        {
            "META-INF/services/a.Service": b"two.Impl # why\nshared.Impl\n",
            "META-INF/LICENSE": b"licence of two",
            "META-INF/versions/17/lib/New.class": b"N",
            "META-INF/versions/17/module-info.class": b"module",
            "version.properties": b"2",
            "lib/Same.class": b"S",
        },
    )
    return application, one, two


def test_merging_joins_services_and_keeps_licences(jars: tuple[Path, ...]) -> None:
    """No provider is lost or doubled, no licence is overwritten, no signature or module is left."""
    entries = dict(merged(jars, "app.Main"))
    assert entries["META-INF/services/a.Service"] == b"one.Impl\nshared.Impl\ntwo.Impl\n"
    assert entries["META-INF/licenses/one-1/LICENSE"] == b"licence of one"
    assert entries["META-INF/licenses/two-2/LICENSE"] == b"licence of two"
    assert entries["version.properties"] == b"1"
    assert not [name for name in entries if name.endswith((".SF", ".RSA", "INDEX.LIST", "module-info.class"))]
    manifest = b"Manifest-Version: 1.0\r\nMain-Class: app.Main\r\nMulti-Release: true\r\n\r\n"
    assert entries["META-INF/MANIFEST.MF"] == manifest


def test_two_versions_of_a_class_are_refused(tmp_path: Path, jars: tuple[Path, ...]) -> None:
    """Which of two different classes would win depends on an order that nobody chose."""
    other = archive(tmp_path / "three.jar", {"lib/Same.class": b"T"})
    with pytest.raises(OperationFailed, match=r"three.jar: its class lib/Same.class differs"):
        merged((*jars, other), "app.Main")


def test_the_fat_jar_is_the_same_every_time(tmp_path: Path, jars: tuple[Path, ...]) -> None:
    """Two folders give the same name and bytes; the manifest comes first; another pin is another name."""
    first, second = (
        FatJar("app-aws", jars[0], jars[1:], ("one 1", "two 2"), "app.Main", tmp_path / place).make()
        for place in ("x", "y")
    )
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert next(iter(contents(first))) == "META-INF/MANIFEST.MF"
    other = FatJar("app-aws", jars[0], jars[1:], ("one 1", "two 3"), "app.Main", tmp_path / "x").path()
    assert other.name != first.name


def test_the_application_becomes_one_jar(tmp_path: Path, jars: tuple[Path, ...]) -> None:
    """The public function takes its pins from the lock."""
    lock = Lock((Artifact("g:one:1", "0" * 64, 1), Artifact("g:two:2", "1" * 64, 1)))
    path = bundles.flink_fat_jar(jars[0], lock, jars[1:], tmp_path / "out")
    assert path.name.startswith("fraud-detection-aws-")
    assert f"Main-Class: {MAIN_CLASS}".encode() in contents(path)["META-INF/MANIFEST.MF"]
    assert contents(path)["app/Main.class"] == b"A"


def test_what_only_a_local_stack_loads_is_not_in_the_jar_for_aws() -> None:
    """Its sources are the application's alone: no service that Flink would find there, nothing of io.fraudctl.local."""
    sources = resource("flink") / "src"
    folders = {file.relative_to(sources).parent.as_posix() for file in sources.rglob("*") if file.is_file()}
    assert folders == {"io/fraudctl/flink"}


def test_aws_versions_are_the_local_ones() -> None:
    """What both targets have, they have in the same version and with the same hash; only the login comes on top."""
    local, aws = (Lock.load(resource("flink") / f"{name}.lock") for name in ("jars", "aws"))
    extra = set(aws.artifacts) - set(local.artifacts)
    assert [artifact.coordinates for artifact in extra] == ["software.amazon.msk:aws-msk-iam-auth:2.3.6:all"]
    names = {artifact.coordinates.split(":")[1] for artifact in aws.artifacts}
    assert {"flink-connector-kafka", "kafka-clients", "lz4-java", "snappy-java", "zstd-jni"} <= names
    # The service brings Flink's own jars.
    assert not {name for name in names if name.startswith("flink-")} - {"flink-connector-kafka"}


def test_parameters_name_the_files() -> None:
    """A file's name is its key."""
    a, b, c, d, e = (Path(f"x/{name}.zip") for name in "abcde")
    built = bundles.Bundles(a, b, c, d, e, Path("x/f.jar"), Path("y/login.jar"))
    assert built.parameters()["KafdropAuthJarKey"] == "login.jar"
    assert len(built.paths()) == 7
