"""Accounts: what is done with the flag list, and what the list says.

`flag` has the options of `flag-accounts`, `plan` the events that bring about what is asked, `publish` publishes them by
FlagAccountGenerator, and `outcome` says what came of it; `account_file` reads lists of accounts. `listing` is who is
flagged at a moment, `changes` what differs between two, `effects` what one account's events did, as `account_view`
shows it.

A list of flags is read by `flag_list`. `what_if` tries one on the transactions that Kafka still has: `found` counts,
`labels` has what is known of fraud, `what_if_report` says it. `apply` is the difference between a list and the flags
as they are, `list_plan` the plan that comes of it, also as a file, and `applying` makes one and carries it out.
"""
