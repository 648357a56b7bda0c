"""The project's files that are no Python: in an installed package below ``_data``, in a checkout beside the package."""

from pathlib import Path
from typing import Final

from fraudctl.errors import NotDeployed

PACKAGE: Final = Path(__file__).parents[1]
# A wheel brings the Flink application compiled; a checkout has no such folder and compiles it.
BUILT: Final = PACKAGE / "_data" / "built"


def resource(name: str) -> Path:
    """Return the folder ``cfn``, ``flink`` or ``lambdas`` of the installed package, else of the checkout.

    Raises:
        NotDeployed: Neither has it.
    """
    for folder in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise NotDeployed(f"{name}: not part of this installation", hint="install fraudctl again")
