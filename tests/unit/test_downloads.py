"""The download cache, against a real HTTP server on loopback."""

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from fraudctl.artifacts.downloads import Downloads, Progress, repositories
from fraudctl.artifacts.pins import Artifact, Lock, distinct
from fraudctl.errors import BadConfig, OperationFailed, Unreachable

ALPHA = b"alpha" * 1000
BETA = b"beta" * 50_000


def pin(name: str, data: bytes) -> Artifact:
    """Pin a file of these bytes."""
    return Artifact(f"org.example.{name}:{name}:1.0", hashlib.sha256(data).hexdigest(), len(data))


@dataclass
class Repository:
    """What the server holds, by path; each answer is used once and the last one again and again."""

    address: str
    answers: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def holds(self, artifact: Artifact, *bodies: bytes) -> None:
        """Serve these bodies, one after the other."""
        self.answers[f"/files/{artifact.repository_path}"] = [(200, body) for body in bodies]

    def times(self, artifact: Artifact) -> int:
        """Give how often the artifact was asked for."""
        return self.asked[f"/files/{artifact.repository_path}"]


@pytest.fixture
def repository() -> Iterator[Repository]:
    """Run a repository on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked[self.path] += 1
            answers = held.answers.get(self.path, [(404, b"")])
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held = Repository(f"http://127.0.0.1:{server.server_port}/files/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield held
        server.shutdown()
        thread.join()


@pytest.fixture
def downloads(tmp_path: Path, repository: Repository) -> Downloads:
    """Give a cache below a folder with a blank and a %, filled from the repository."""
    return Downloads(tmp_path / "ca che%", addresses=lambda: [repository.address])


def offline(cache: Path) -> Downloads:
    """Give the same cache on a machine without a network: asking for the addresses alone is an error."""

    def addresses() -> list[str]:
        pytest.fail("the network was touched")

    return Downloads(cache, addresses=addresses)


def test_missing_files_are_downloaded_once_and_shared_between_locks(
    downloads: Downloads, repository: Repository
) -> None:
    """Two locks with one artifact in common fetch it once, and both class paths name the same file."""
    alpha, beta = pin("alpha", ALPHA), pin("beta", BETA)
    repository.holds(alpha, ALPHA)
    repository.holds(beta, BETA)
    first, second = Lock((alpha, beta)), Lock((beta,))
    assert [path.read_bytes() for path in downloads.ensure([first, second])] == [ALPHA, BETA]
    assert downloads.paths(first)[1] == downloads.paths(second)[0]
    assert repository.times(beta) == 1


def test_a_cached_file_lies_by_group_artifact_and_version(tmp_path: Path, repository: Repository) -> None:
    """The layout is jars/<group>/<artifact>/<version>/<file>, and nothing else is left in the cache's jars."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)
    Downloads(tmp_path, addresses=lambda: [repository.address]).ensure([Lock((alpha,))])
    assert sorted(
        str(path.relative_to(tmp_path / "jars")) for path in (tmp_path / "jars").rglob("*") if path.is_file()
    ) == [
        "org.example.alpha/alpha/1.0/alpha-1.0.jar",
        "verified.json",
    ]


def test_a_warm_cache_needs_no_network(tmp_path: Path, repository: Repository) -> None:
    """Once verified, files are given without asking anyone, and nothing is reported as missing."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)
    Downloads(tmp_path, addresses=lambda: [repository.address]).ensure([Lock((alpha,))])
    lock, reports = Lock((alpha,)), list[Progress]()
    assert offline(tmp_path).ensure([lock], reports.append)[0].read_bytes() == ALPHA
    assert (offline(tmp_path).missing([lock]), reports) == ([], [])


def test_files_copied_by_hand_are_hashed_and_taken(tmp_path: Path) -> None:
    """A cache without its index, say after a copy, is verified by hashing and needs no network."""
    alpha = pin("alpha", ALPHA)
    path = tmp_path / "jars" / alpha.cache_path
    path.parent.mkdir(parents=True)
    path.write_bytes(ALPHA)
    assert offline(tmp_path).missing([Lock((alpha,))]) == [alpha]
    assert offline(tmp_path).ensure([Lock((alpha,))]) == [path]
    assert offline(tmp_path).missing([Lock((alpha,))]) == []


def test_a_damaged_file_is_noticed_and_replaced(downloads: Downloads, repository: Repository) -> None:
    """A file whose size or time changed is hashed again, and fetched again when its bytes differ."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)
    (path,) = downloads.ensure([Lock((alpha,))])
    path.write_bytes(b"x" * len(ALPHA))
    assert downloads.ensure([Lock((alpha,))])[0].read_bytes() == ALPHA
    assert repository.times(alpha) == 2


@pytest.mark.parametrize("wrong", [b"y" * len(ALPHA), b"short", ALPHA + b"more"])
def test_a_wrong_download_is_fetched_once_more(downloads: Downloads, repository: Repository, wrong: bytes) -> None:
    """Damaged on the way once: the second try is taken, whether bytes were changed, cut off or added."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, wrong, ALPHA)
    assert downloads.ensure([Lock((alpha,))])[0].read_bytes() == ALPHA
    assert repository.times(alpha) == 2


def test_a_download_that_is_wrong_twice_is_named(downloads: Downloads, repository: Repository) -> None:
    """The error names the artifact and both hashes; the wrong bytes get no place; what else came is kept."""
    alpha, beta = pin("alpha", ALPHA), pin("beta", BETA)
    repository.holds(alpha, b"evil")
    repository.holds(beta, BETA)
    lock = Lock((alpha, beta))
    with pytest.raises(OperationFailed) as caught:
        downloads.ensure([lock])
    assert str(caught.value) == (
        f"download org.example.alpha:alpha:1.0: twice not the pinned file: expected sha256 {alpha.sha256}, "
        f"got {hashlib.sha256(b'evil').hexdigest()}"
    )
    assert caught.value.hint is not None
    assert not downloads.paths(lock)[0].exists()
    repository.holds(alpha, ALPHA)
    assert [path.read_bytes() for path in downloads.ensure([lock])] == [ALPHA, BETA]


def test_passing_server_errors_are_ridden_out(downloads: Downloads, repository: Repository) -> None:
    """A server that is busy for a moment is asked again."""
    alpha = pin("alpha", ALPHA)
    repository.answers[f"/files/{alpha.repository_path}"] = [(503, b""), (200, ALPHA)]
    assert downloads.ensure([Lock((alpha,))])[0].read_bytes() == ALPHA


class Longer(bytes):
    """Bytes that claim one byte more, so that the connection ends before the announced length."""

    __slots__ = ()

    def __len__(self) -> int:
        """Give one too many."""
        return super().__len__() + 1


def test_a_body_that_breaks_off_is_fetched_again(downloads: Downloads, repository: Repository) -> None:
    """The connection ends before the announced length twice; the third try is taken."""
    alpha = pin("alpha", ALPHA)
    answers = [(200, Longer(ALPHA)), (200, Longer(ALPHA)), (200, ALPHA)]
    repository.answers[f"/files/{alpha.repository_path}"] = answers
    assert downloads.ensure([Lock((alpha,))])[0].read_bytes() == ALPHA
    assert repository.times(alpha) == 3


def test_offline_and_cold_says_that_the_network_is_needed_once(tmp_path: Path) -> None:
    """Nobody listens: the error names a missing artifact, and the hint says that it is needed once."""
    alpha = pin("alpha", ALPHA)
    with pytest.raises(Unreachable, match=r"download org\.example\.alpha:alpha:1\.0: no connection") as caught:
        Downloads(tmp_path, addresses=lambda: ["http://127.0.0.1:9/files"]).ensure([Lock((alpha,))])
    assert "the first run needs the network, later ones do not" in str(caught.value.hint)


def test_an_artifact_that_no_repository_has(downloads: Downloads, repository: Repository) -> None:
    """404 is an answer, not an outage."""
    with pytest.raises(OperationFailed, match="no repository has it"):
        downloads.ensure([Lock((pin("alpha", ALPHA),))])
    assert sum(repository.asked.values()) == 1


def test_a_second_repository_is_asked_when_the_first_has_it_not(tmp_path: Path, repository: Repository) -> None:
    """Addresses are tried in their order."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)
    addresses = [repository.address.replace("files", "empty"), repository.address]
    assert Downloads(tmp_path, addresses=lambda: addresses).ensure([Lock((alpha,))])[0].read_bytes() == ALPHA


def test_the_addresses_are_jgos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings it is jgo's default over TLS; a mirror in jgo's own settings file replaces it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (default,) = repositories()
    assert default.startswith("https://")
    (tmp_path / ".config").mkdir()
    settings = tmp_path / ".config" / "jgo.conf"
    settings.write_text("[repositories]\nmirror = https://mirror.example/files\n", encoding="utf-8")
    assert repositories() == ["https://mirror.example/files"]
    settings.write_text("no section\n", encoding="utf-8")
    with pytest.raises(BadConfig, match="settings of jgo: "):
        repositories()


def test_progress_ends_at_the_total(downloads: Downloads, repository: Repository) -> None:
    """The numbers never fall, end at the sum of the sizes, and come in the caller's thread."""
    alpha, beta = pin("alpha", ALPHA), pin("beta", BETA)
    repository.holds(alpha, ALPHA)
    repository.holds(beta, BETA)
    reports: list[tuple[Progress, str]] = []
    downloads.ensure(
        [Lock((alpha, beta))], lambda progress: reports.append((progress, threading.current_thread().name))
    )
    done = [progress.done_bytes for progress, _ in reports]
    total = len(ALPHA) + len(BETA)
    assert {progress.total_bytes for progress, _ in reports} == {total}
    assert done[-1] == total
    assert done == sorted(done)
    assert {thread for _, thread in reports} == {threading.current_thread().name}


def test_an_interrupted_download_leaves_nothing_half(
    downloads: Downloads, repository: Repository, tmp_path: Path
) -> None:
    """Ctrl-C while downloading: no partial file stays, and the next call completes."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads.ensure([Lock((alpha,))], interrupt)
    assert not list((tmp_path / "ca che%" / "jars").glob(".partial*"))
    assert downloads.ensure([Lock((alpha,))])[0].read_bytes() == ALPHA


class Usage(NamedTuple):
    """What shutil.disk_usage gives."""

    total: int
    used: int
    free: int


def test_no_disk_space_is_said_before_anything_is_fetched(
    downloads: Downloads, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder and the bytes needed; no request was made."""
    beta = Artifact("org.example:beta:1.0", "0" * 64, 5_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 1_000_000))
    with pytest.raises(OperationFailed, match=r"ca che%: no disk space: 5034 MB are needed, 1 MB are free"):
        downloads.ensure([Lock((beta,))])
    assert not repository.asked


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be is a wrong setting, and the hint names it."""
    (tmp_path / "cache").write_text("", encoding="utf-8")
    with pytest.raises(BadConfig, match=r"cache folder .*/cache: ") as caught:
        offline(tmp_path / "cache").ensure([Lock((pin("alpha", ALPHA),))])
    assert "FRAUDCTL_CACHE" in str(caught.value.hint)


def test_two_at_once_download_once(tmp_path: Path, repository: Repository) -> None:
    """The second process waits, says so, and then finds everything there."""
    alpha = pin("alpha", ALPHA)
    repository.holds(alpha, ALPHA)
    lock, reports, waiting = Lock((alpha,)), list[Progress](), threading.Event()

    def report(progress: Progress) -> None:
        reports.append(progress)
        waiting.set()

    with FileLock(tmp_path / "downloads.lock"):
        second = threading.Thread(target=offline(tmp_path).ensure, args=([lock], report))
        second.start()
        assert waiting.wait(30)
        path = tmp_path / "jars" / alpha.cache_path
        path.parent.mkdir(parents=True)
        path.write_bytes(ALPHA)
    second.join(30)
    assert set(reports) == {Progress(0, 0, "another fraudctl is downloading")}
    assert offline(tmp_path).missing([lock]) == []


def test_waiting_for_another_ends_with_its_caller(tmp_path: Path) -> None:
    """Ctrl-C reaches a command that waits: what it reports to may end it, again and again until it does."""
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        if len(reports) == 2:
            raise RuntimeError

    with FileLock(tmp_path / "downloads.lock"), pytest.raises(RuntimeError):
        offline(tmp_path).ensure([Lock((pin("alpha", ALPHA),))], report)
    assert len(reports) == 2


def test_a_bundle_of_certificates_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named, not the cache folder."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    downloads = Downloads(tmp_path / "cache", addresses=lambda: ["https://127.0.0.1:1/"])
    with pytest.raises(BadConfig, match=r"^download org\.example\.alpha:alpha:1\.0: .*none\.pem") as caught:
        downloads.ensure([Lock((pin("alpha", ALPHA),))])
    assert "REQUESTS_CA_BUNDLE" in str(caught.value.hint)


def test_lock_files_name_classifier_and_extension(tmp_path: Path) -> None:
    """Comments are skipped; classifier and extension end up in the file's name."""
    file = tmp_path / "x.lock"
    file.write_text(
        f"# why\ng.h:a:1 {'0' * 64} 5\ng:b:2:all {'1' * 64} 6  # size\n\ng:c:3::so {'2' * 64} 7\n", encoding="utf-8"
    )
    artifacts = Lock.load(file).artifacts
    assert [str(artifact.repository_path) for artifact in artifacts] == [
        "g/h/a/1/a-1.jar",
        "g/b/2/b-2-all.jar",
        "g/c/3/c-3.so",
    ]
    assert (artifacts[1].sha256, artifacts[1].size) == ("1" * 64, 6)
    assert distinct([Lock(artifacts), Lock(artifacts[:1])]) == list(artifacts)


@pytest.mark.parametrize(
    "line",
    [
        "a:b:1 abc 5",
        f"a:b {'0' * 64} 5",
        f"a:b:1 {'0' * 64}",
        f"a:..:1 {'0' * 64} 5",
        f"a:b:../../etc {'0' * 64} 5",
        f"/a:b:1 {'0' * 64} 5",
    ],
)
def test_a_wrong_line_of_a_lock_file_is_named(tmp_path: Path, line: str) -> None:
    """A line that is none, or that would lead out of the cache, is refused with its number."""
    file = tmp_path / "x.lock"
    file.write_text(f"# one\n{line}\n", encoding="utf-8")
    with pytest.raises(BadConfig, match=r"x\.lock: line 2 is not"):
        Lock.load(file)


def names(lock: Lock) -> list[str]:
    """Give the artifacts' names without versions."""
    return [artifact.coordinates.split(":")[1] for artifact in lock.artifacts]


@pytest.fixture
def pinned() -> Callable[[str], Lock]:
    """Load one of the project's own lock files."""
    root = Path(__file__).parents[2]
    return lambda name: Lock.load(root / name)


def test_the_projects_locks_fit_together(pinned: Callable[[str], Lock]) -> None:
    """Kafka and Flink share their client and codecs, each has one logging binding, and all jars stay below 160 MB."""
    flink, kafka, dynamodb = (
        pinned(f"{name}.lock")
        for name in ("flink/jars", "fraudctl/local/kafka/kafka", "fraudctl/local/dynamodb/dynamodb")
    )
    shared = set(flink.artifacts) & set(kafka.artifacts)
    assert {artifact.coordinates.split(":")[1] for artifact in shared} >= {
        "kafka-clients", "lz4-java", "snappy-java", "zstd-jni", "slf4j-api", "slf4j-simple",
    }  # fmt: skip
    for lock in (flink, kafka, dynamodb):
        assert names(lock).count("slf4j-simple") == 1
        coordinates = [artifact.coordinates for artifact in lock.artifacts]
        assert coordinates == sorted(coordinates)
    every = distinct([flink, kafka, dynamodb, pinned("flink/compiler.lock")])
    assert sum(artifact.size for artifact in every) < 160_000_000
