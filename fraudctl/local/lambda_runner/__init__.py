"""The local Lambda: one process that hosts the pipeline's functions.

`spec` says what it hosts; `functions` loads and invokes; `server` speaks the Invoke API and the control API; `schedule`
invokes the generator each minute; `mapping` (with `batches` and `on_failure`) is the MSK event source mapping; `runner`
puts them together. Started by ``python -m fraudctl.local.lambda_runner SPEC.json``.
"""
