"""Accounts: what is done with the flag list, and what the list says.

`flag` flags accounts, or clears them, by invoking FlagAccountGenerator; `account_file` reads lists of accounts.
"""
