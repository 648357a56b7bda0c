"""The AWS target.

- target: what a command can ask of it, each adapter opened at first use.
- stack: deploy as a CloudFormation stack, in two passes. teardown: remove it and prove it gone.
- preflight: what is checked before anything changes. release: template and artifacts. costs: dollars by the hour.
- names: every name and tag. resource_types: one row for each type of resource.
- session: boto3 clients. errors: AWS's errors in fraudctl's own.
- cloudformation: change sets, events, the guard. resources: what CloudFormation does not do by itself.
"""
