"""Seals: digests of audit rows that outlive Kafka, so that a changed, deleted or added row is noticed years later.

`canonical` says what of a row is sealed, `manifest` what is written for a window and partition, `archive` where.
`sealing` writes manifests, `chains` judges them, `check` compares the rows with them; `bundle` packs rows, evidence
and manifests into one file. docs/seal.md describes the format.
"""
