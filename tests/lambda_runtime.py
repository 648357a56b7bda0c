"""What Lambda is to a function: ``python -I -S lambda_runtime.py SPEC`` runs a handler for the lines of stdin.

Nothing but the function's own folder and boto3 can be imported. A line in is ``{"event": …, "timeout_s": …}``, a line
out ``{"answer": …}`` or, as Lambda has it, ``{"error": {"errorType": …, "errorMessage": …}}``.

The specification, JSON: `folder` and `beside` are the two places, `handler` a file instead of the folder's own,
`certificate` what signed the broker's (Lambda's own store knows MSK's), `token_s` how long IAM tokens live instead of
900 s, and `token` what is wrong with them: ``expired`` or ``unsigned``.
"""

import json
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(spec: dict[str, Any]) -> None:
    """Answer until stdin ends."""
    sys.path[:0] = [spec["folder"], spec["beside"]]
    # Python's own streams may be written to by the function.
    answers, sys.stdout = sys.stdout, sys.stderr
    if certificate := spec.get("certificate"):
        _trust(certificate)
    _tokens(spec.get("token"), spec.get("token_s"))
    handler = _load(Path(spec.get("handler") or Path(spec["folder"]) / "handler.py"))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": handler(asked["event"], _context(asked["timeout_s"]))}
        except Exception as error:  # noqa: BLE001 - as Lambda does
            answer = {"error": {"errorType": type(error).__name__, "errorMessage": str(error)}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _load(path: Path) -> Any:
    found = spec_from_file_location("handler", path)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module.handler


def _context(timeout_s: float) -> SimpleNamespace:
    end = time.monotonic() + timeout_s
    return SimpleNamespace(
        get_remaining_time_in_millis=lambda: max(0, round((end - time.monotonic()) * 1000)),
        invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:test",
        function_version="$LATEST",
        aws_request_id="0-1",
    )


def _trust(certificate: str) -> None:
    """Let the function's clients trust the certificate; librdkafka looks into the machine's store otherwise."""
    kafka: Any = import_module("fraudctl.pipeline.kafka")
    client = kafka.client

    def trusting(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {**client(*arguments, **options), "ssl.ca.location": certificate}

    kafka.client = trusting


def _tokens(wrong: str | None, seconds: int | None) -> None:
    """Change the signer's tokens."""
    if wrong is None and seconds is None:
        return
    signer: Any = import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")
    if seconds is not None:
        signer.DEFAULT_TOKEN_EXPIRY_SECONDS = seconds
    if wrong == "expired":
        auth: Any = import_module("botocore.auth")
        present, timedelta = auth.get_current_datetime, import_module("datetime").timedelta
        auth.get_current_datetime = lambda *arguments, **options: present(*arguments, **options) - timedelta(hours=1)
    if wrong is None:
        return
    generate = signer.generate_auth_token

    def generated(region: str) -> tuple[str, int]:
        token, _ = generate(region)
        if wrong == "unsigned":
            token = _without_signature(token)
        return token, round((time.time() + 900) * 1000)  # librdkafka itself refuses what has expired

    signer.generate_auth_token = generated


def _without_signature(token: str) -> str:
    url = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    parts = [part for part in url.split("&") if not part.startswith("X-Amz-Signature=")]
    return urlsafe_b64encode("&".join(parts).encode()).decode().rstrip("=")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
