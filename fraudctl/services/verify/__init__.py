"""Whether everything that had to be detected is in the audit table, and nothing else, told from the topics alone.

`rule` is the rule of detection, written without a look at the Flink application; `evidence` gathers what topics, table
and on-failure destination have; `verdicts` judges one transaction; `reconcile` does all of them.
"""
