"""The version of fraudctl, which the functions know too: pyproject.toml takes it from here."""

VERSION = "0.1.0"
