"""What is the same on both targets, written against the Protocols of ``fraudctl.target``.

===================  ========================================================================================
deploy               the one way to deploy and to tear down: prepare, plan, show, check, ask, apply, discard
demo                 flag accounts and wait for the first detection
health               the status of the stack, as one document and as rows for people
accounts             flag accounts, or clear them; what the flag list says and would have done
flags                the rule of detection, and the flag events it goes by
tail                 which records of a topic to read
record_formats       Kafka records as JSON Lines, as CSV, and as lines for people
audit                queries of the audit table
transactions         send transactions from a file, or sample ones
transaction_file     JSON Lines and CSV files of transactions, checked line by line
topics               topics by the names that people type
time_options         times and durations on the command line
where                the filter --where; where_syntax makes a tree of its text, where_values compares values
files                files named on the command line
interrupts           Ctrl-C that ends work between two steps
===================  ========================================================================================
"""
