"""The Flink application as one JVM.

definition    what it is started with
snapshots     which checkpoint or savepoint it starts from
unread        records that were deleted before the application had read them
launcher      waits for Kafka, chooses the state and becomes the JVM
rest          Flink's REST API
application   starts, stops and describes it
"""
