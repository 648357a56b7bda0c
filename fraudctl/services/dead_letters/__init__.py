"""Dead letters: what was set aside because it is malformed, or could not be written, and its way back.

`letters` is one of them, whichever place it comes from; `spans` finds where in its bytes the error lies, `excerpts`
shows it. `groups` counts them. `redrive` sends malformed records to their topics again: `selection` chooses them,
`ledger` knows what was sent before, and `outcomes` is what becomes of them. `aside` is the same for AuditWriter's
on-failure destination, `editing` opens an editor on one, and `shown` is one as people and programs see it.
"""
