"""Fetching one pinned file: streamed, hashed on the way, retried, and put in its place only when it is right."""

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fraudctl.artifacts.pins import Artifact
from fraudctl.errors import BadConfig, OperationFailed, Unreachable

if TYPE_CHECKING:
    from requests import RequestException, Response, Session

_CHUNK_BYTES: Final = 1 << 16
_TIMEOUT_SECONDS: Final = (10.0, 30.0)
_TRIES: Final = 3
_NOT_FOUND: Final = 404
_OFFLINE: Final = "the first run needs the network, later ones do not: connect, then run the same command again"
_REPLACED: Final = "a proxy or a mirror may have replaced it: try another network, then run the same command again"


class Stopped(Exception):
    """The download was given up because `Fetcher.stop` was called."""


class Fetcher:
    """Fetches from the first of `addresses` that has the file; `partial` is a folder for unfinished ones.

    Used from several threads at once; `received` and `current` tell the others how far they are.
    """

    def __init__(self, session: "Session", addresses: list[str], partial: Path) -> None:
        """Store the collaborators; no I/O."""
        self._session, self._addresses, self._partial = session, addresses, partial
        self._stopped = threading.Event()
        self._received: dict[str, int] = {}
        self.current = ""

    @property
    def received(self) -> int:
        """Bytes received so far, not counting those that were thrown away."""
        return sum(list(self._received.values()))

    def stop(self) -> None:
        """End the running fetches at their next chunk."""
        self._stopped.set()

    def fetch(self, artifact: Artifact, target: Path) -> None:
        """Put the verified file at `target`; one that is wrong is fetched once more.

        Raises `OperationFailed` when it is wrong again or no repository has it, and `Unreachable` when none answers.
        """
        partial = self._partial / artifact.sha256  # file names of two groups may be equal
        for _ in range(2):
            seen = self._patiently(artifact, partial)
            if seen == artifact.sha256:
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(target)
                return
        raise OperationFailed(
            f"download {artifact.coordinates}: twice not the pinned file: "
            f"expected sha256 {artifact.sha256}, got {seen}",
            hint=_REPLACED,
        )

    def _patiently(self, artifact: Artifact, partial: Path) -> str:
        import requests

        for attempt in range(_TRIES):
            # The session's adapter has retried the connection; what can still break is the body.
            response = self._open(artifact)
            try:
                with response:
                    return self._stream(response, artifact, partial)
            except requests.RequestException as error:
                if attempt == _TRIES - 1:
                    raise _unreachable(artifact, error) from error
                self._stopped.wait(0.5)
        raise AssertionError("the loop returns or raises")

    def _open(self, artifact: Artifact) -> "Response":
        import requests

        for address in self._addresses:
            url = f"{address.rstrip('/')}/{artifact.repository_path}"
            try:
                # Without "identity" a proxy may compress, and the bytes would differ from the pinned ones.
                response = self._session.get(
                    url, stream=True, timeout=_TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}
                )
            except requests.RequestException as error:
                raise _unreachable(artifact, error) from error
            except OSError as error:  # requests says so of a bundle of certificates that is not there
                raise BadConfig(
                    f"download {artifact.coordinates}: {error}",
                    hint="fix or unset REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE",
                ) from error
            if response.ok:
                return response
            response.close()
            if response.status_code != _NOT_FOUND:
                raise Unreachable(
                    f"download {artifact.coordinates}: {urlsplit(url).hostname} answers "
                    f"{response.status_code} {response.reason}",
                    hint=_OFFLINE,
                )
        raise OperationFailed(f"download {artifact.coordinates}: no repository has it", hint="see ~/.config/jgo.conf")

    def _stream(self, response: "Response", artifact: Artifact, partial: Path) -> str:
        self.current = artifact.file_name
        digest, received = hashlib.sha256(), 0
        with partial.open("wb") as file:
            for chunk in response.iter_content(_CHUNK_BYTES):
                if self._stopped.is_set():
                    raise Stopped
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                self._received[artifact.coordinates] = received
                if received > artifact.size:
                    break  # it cannot be the pinned one, however much is still to come
        return digest.hexdigest()


def patient_session(connections: int) -> "Session":
    """Return a session that retries connections and passing server errors, a second or two in all when offline."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=5,
        connect=2,
        read=2,
        backoff_factor=0.3,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    adapter = HTTPAdapter(pool_maxsize=connections, max_retries=retry)
    session = requests.Session()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _unreachable(artifact: Artifact, error: "RequestException") -> Unreachable:
    import requests

    host = urlsplit(error.request.url).hostname if error.request is not None and error.request.url else None
    reasons = (
        (requests.exceptions.SSLError, "the certificate is not trusted"),
        (requests.exceptions.ProxyError, "the proxy does not let it through"),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke off"),
        (requests.exceptions.ConnectionError, "no connection"),
    )
    why = next((reason for kind, reason in reasons if isinstance(error, kind)), type(error).__name__)
    return Unreachable(
        f"download {artifact.coordinates}: {why}{f' ({host})' if host else ''}",
        hint=_OFFLINE,
    )
