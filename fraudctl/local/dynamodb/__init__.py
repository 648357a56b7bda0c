"""DynamoDB Local: its command line, its pinned jars."""
