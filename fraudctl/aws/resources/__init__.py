"""What CloudFormation creates but does not run, and what outlives it.

- on_failure: what the audit writer put aside. logs, metrics: CloudWatch.
- bucket: the artifact bucket. table: the audit table.
- event_source_mapping, flink, schedule: switch them and wait.
- drift: what was changed by hand, and its repair. leftovers: what a teardown left.
"""
