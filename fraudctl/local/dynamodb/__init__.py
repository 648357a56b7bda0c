"""DynamoDB Local: its command line, its pinned jars, and the launcher that binds it to loopback."""
