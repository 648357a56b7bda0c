"""The local target: the whole pipeline as child processes of one machine, all of it on 127.0.0.1.

target         the adapters behind the Protocols of `fraudctl.target`
stack          plan, apply, teardown; every deploy is a repair
watchdog       kills what runs and does not answer, so that supervisord starts it again
components     the health of every component
definitions    the programs that make up a stack
functions      the Lambda functions and their schedule, as the function runner hosts them
logs           the components' log files
clients        clients of the stack's own servers
kafka/         the broker, topics and records
dynamodb/      DynamoDB Local
flink/         the Flink application, its launcher and its REST API
lambda_runner/ the local Lambda: Invoke API, schedule, event source mapping
processes/     what all programs share: supervisord, folders, ports, JVM options, state, recovery
"""
