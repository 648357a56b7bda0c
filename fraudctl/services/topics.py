"""The pipeline's topics by the names people type."""

from fraudctl.errors import BadConfig
from fraudctl.pipeline import topics
from fraudctl.pipeline.topics import Topic


def named(name: str) -> Topic:
    """Find a topic by its alias or its full name; raises `BadConfig` with the names there are."""
    found = topics.find(name)
    if found is None:
        aliases = ", ".join(topic.alias for topic in topics.ALL)
        raise BadConfig(f"topic {name!r}: unknown", hint=f"the topics are {aliases}")
    return found
