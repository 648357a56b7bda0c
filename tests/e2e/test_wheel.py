"""The wheel, installed in a fresh environment away from the checkout, deploys."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def test_the_wheel_deploys_away_from_the_checkout(tmp_path: Path) -> None:
    """Built with `make wheel`'s commands from a copy, installed with pinned dependencies, deployed, torn down."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "__pycache__", "dist", "_data")
    shutil.copytree(ROOT, source, ignore=ignored)
    _run(sys.executable, "-m", "fraudctl.artifacts", "fraudctl/_data/built", folder=source)
    shutil.rmtree(source / "cache")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), folder=source)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.rmtree(source)

    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", str(environment), folder=tmp_path)
    pip = (str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    _run(*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock"), folder=tmp_path)
    _run(*pip, "--no-deps", str(wheel), folder=tmp_path)

    fraudctl = str(environment / "bin" / "fraudctl")
    try:
        deployed = _run(fraudctl, "deploy", "--no-samples", folder=tmp_path)
        assert "compiling for flink" not in deployed  # the wheel brings it
        assert '"healthy":true' in _run(fraudctl, "status", "-o", "json", folder=tmp_path)
    finally:
        assert "is gone" in _run(fraudctl, "teardown", "--yes", folder=tmp_path)


def _run(*command: str, folder: Path) -> str:
    """Run in a folder, with state and downloads below it, and give stdout and stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"FRAUDCTL_HOME": str(folder / "state"), "FRAUDCTL_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
