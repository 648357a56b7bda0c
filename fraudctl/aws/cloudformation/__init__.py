"""CloudFormation.

- describe: a stack and its resources. parameters: the template's parameters and their values.
- change_sets: create, read, execute and delete change sets. guard: which of their changes would lose data.
- plans: a change set as lines of a plan, its minutes and its bill.
- operations: start an operation and follow it. events: what it reports. diagnosis: why it failed.
"""
