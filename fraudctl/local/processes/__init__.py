"""What all programs of a local stack share.

paths, ports, state    where a stack keeps what, where it listens, what it remembers
tools                  Java, the pinned jars, the jars compiled from source
jvm, class_data        options of every JVM, and its class data archive
definition, launch     what a program is started with: written by a deploy, read by the process that becomes it
supervisor             supervisord, which keeps the programs running
process_table          the stack's operating-system processes
recovery               what a dead supervisor left behind
"""
