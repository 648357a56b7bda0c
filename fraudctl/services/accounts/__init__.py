"""Accounts: what is done with the flag list, and what the list says.

`flag` checks what is asked for, `plan` says which events bring it about, `publish` publishes them by the function,
and `outcome` says what holds then. `account_file` reads lists of accounts.
"""
