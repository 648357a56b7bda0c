"""The functions' zips, as they would be uploaded: for Lambda's platform, loadable there, small and quick to import."""

import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import confluent_kafka
import lambda_zips
import pytest
from elf import library
from templates import load

from fraudctl import config
from fraudctl.artifacts.bundles import LARGEST_BYTES, WITHOUT_WHEELS, Bundles, build_all
from fraudctl.pipeline.names import FUNCTIONS

pytestmark = pytest.mark.integration

# What every glibc has, and the glibc of Amazon Linux 2023 (its release notes: glibc 2.34), on which Lambda's runtimes
# from Python 3.12 on run.
SYSTEM: Final = {"libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"}
GLIBC: Final = (2, 34)
IMPORT_S: Final = 1.5
# Processor time: the tests' machine may be busy.
IMPORT: Final = """
import sys, time
sys.path[:0] = sys.argv[1:3]
start = time.process_time()
import handler
for name in sys.argv[3:]:
    __import__(name)
taken = time.process_time() - start
import json
loaded = sorted({module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)})
print(json.dumps({"seconds": taken, "files": loaded}))
"""


@pytest.fixture(scope="module")
def bundles() -> Bundles:
    """What a deploy uploads."""
    return build_all(config.load().cache)


def archive(bundles: Bundles, folder: str) -> Path:
    """Return the zip of a function, as the template's parameter names it."""
    key = bundles.parameters()[f"{FUNCTIONS[folder]}Key"]
    return next(path for path in bundles.paths() if path.name == key)


def test_libraries_are_read_right() -> None:
    """The reader sees this machine's own client as this machine's: were it blind, the test below would pass."""
    (own,) = Path(confluent_kafka.__file__).parent.glob("cimpl*.so")
    found = library(own.read_bytes())
    assert found.machine == {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    assert {name for name in found.needed if name.startswith("librdkafka")}
    assert any(version.startswith("GLIBC_2.") for _, version in found.versions)


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_libraries_are_for_lambdas_platform(bundles: Bundles, folder: str) -> None:
    """Each is for the template's architecture and Python, and needs nothing that Amazon Linux 2023 lacks."""
    function = load().properties(FUNCTIONS[folder])
    python = re.fullmatch(r"python3\.(\d+)", function["Runtime"])
    assert python is not None
    minor = int(python[1])
    with zipfile.ZipFile(archive(bundles, folder)) as opened:
        libraries = {
            name: library(opened.read(name)) for name in opened.namelist() if re.search(r"\.so(\.\d+)*$", name)
        }
        tags = re.findall(
            r"^Tag: (\S+)$",
            "\n".join(opened.read(name).decode() for name in opened.namelist() if name.endswith(".dist-info/WHEEL")),
            re.MULTILINE,
        )
        assert sum(entry.file_size for entry in opened.infolist()) < LARGEST_BYTES == 250 * 1024 * 1024
    own = {name.rsplit("/", 1)[-1] for name in libraries}
    for name, found in libraries.items():
        assert [found.machine] == function["Architectures"], name
        assert found.needed <= SYSTEM | own, name
        for _, version in found.versions:
            if numbers := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version):
                assert (int(numbers[1]), int(numbers[2])) <= GLIBC, f"{name} needs {version}"
        if abi := re.search(r"\.cpython-(\d+)-", name):
            assert abi[1] == f"3{minor}", name
    assert bool(libraries) == (folder not in WITHOUT_WHEELS)
    machine = {"arm64": "aarch64"}[function["Architectures"][0]]
    assert all(
        re.fullmatch(rf"py\S*-none-any|cp3{minor}-(cp3{minor}|abi3)-manylinux\S+_{machine}", tag) for tag in tags
    )
    assert any(tag.startswith("cp3") for tag in tags) == bool(libraries)


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_a_cold_start_is_short(bundles: Bundles, folder: str, tmp_path: Path) -> None:
    """The handler, Kafka's client and the signer, out of the zip, with nothing but boto3 beside it."""
    task, beside = (
        lambda_zips.unpacked(archive(bundles, folder), tmp_path / "task"),
        lambda_zips.beside(tmp_path / "boto3"),
    )
    needed = ("boto3",) if folder == "audit_writer" else ("confluent_kafka", "aws_msk_iam_sasl_signer")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT, str(task), str(beside), *needed],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["seconds"] < IMPORT_S
    assert not [
        file for file in found["files"] if "site-packages" in file and not file.startswith((str(task), str(beside)))
    ]
    assert any(file == str(task / "handler.py") for file in found["files"])
