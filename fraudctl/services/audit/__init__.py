"""The audit table: every detected transaction, found, counted and taken out.

`table` asks DynamoDB, `options` says what the options of a query mean together, `rows` gives a row's fields, `find` a
single transaction, `stats` counts and sums, `export` writes a file.
"""
