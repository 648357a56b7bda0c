"""The flag events of accounts: the rule of detection, written without a look at the Flink application.

`rule` is which event detects a transaction; `reading` reads the events of all accounts, or of one, from their topic;
`timeline` is what an account's events come to: when it is flagged, from when until when (`state`). `parsing` and
`packed` are for a million events: parsed quickly, held in a few bytes each; `lookup` takes those of an account out.
`quick` reads transactions fast.
"""
