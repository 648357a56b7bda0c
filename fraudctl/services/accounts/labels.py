"""Labels: what is known, from elsewhere, of transactions being fraud; and how well a list tells fraud by them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fraudctl.services.accounts import columns_file

_COLUMNS: Final = {
    "transaction_id": "transaction",
    "transaction": "transaction",
    "id": "transaction",
    "fraud": "fraud",
    "is_fraud": "fraud",
    "isfraud": "fraud",
    "label": "fraud",
}
_YES: Final = frozenset({"yes", "y", "true", "1", "fraud"})
_NO: Final = frozenset({"no", "n", "false", "0", "legit", "genuine"})


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a list was right about labelled transactions."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0

    @property
    def precision(self) -> float | None:
        """The share of fraud in what is detected; None when nothing is."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """The share of fraud that is detected; None when there is no fraud."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @classmethod
    def of(cls, found: Iterable[tuple[bool, bool]]) -> "Confusion":
        """Count pairs of whether it is fraud, and whether it was detected."""
        counts = {(fraud, detected): 0 for fraud in (False, True) for detected in (False, True)}
        for pair in found:
            counts[pair] += 1
        return cls(counts[True, True], counts[False, True], counts[True, False], counts[False, False])


def read(name: str) -> dict[str, bool]:
    """Return whether each transaction of a file is fraud: CSV or JSON Lines with transaction_id and fraud (yes or no).

    Raises:
        BadConfig: The file cannot be read, or a line of it; a transaction is labelled both ways.
    """
    found: dict[str, bool] = {}
    with columns_file.opened(name, _COLUMNS) as lines:
        for number, values in lines:
            fraud, transaction = values.get("fraud", "").casefold(), values.get("transaction")
            if transaction is None or fraud not in _YES | _NO:
                what = "no transaction_id" if transaction is None else f"fraud is {fraud!r}, neither yes nor no"
                raise columns_file.bad(name, number, what, "the columns are transaction_id and fraud: yes or no")
            if found.setdefault(transaction, fraud in _YES) is not (fraud in _YES):
                raise columns_file.bad(name, number, f"transaction {transaction!r} is labelled both ways")
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
