"""Accounts: what is done with the flag list, and what the list says.

`flag` flags accounts, or clears them, by invoking FlagAccountGenerator; `account_file` reads lists of accounts.
`listing` is who is flagged at a moment, `changes` what differs between two, `effects` what one account's events did, as
`account_view` shows it.
"""
