"""The Flink application as one JVM.

`definition` says what it is started with, `launcher` chooses the state it starts from and becomes the JVM, `rest` asks
its REST API, `application` starts, stops and describes it.
"""
