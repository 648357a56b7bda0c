"""Find the pipeline's topics by the names that people type."""

from fraudctl.errors import BadConfig
from fraudctl.pipeline import topics
from fraudctl.pipeline.topics import Topic


def named(name: str) -> Topic:
    """Return a topic by its alias or its full name; raises `BadConfig` with the aliases."""
    found = topics.find(name)
    if found is None:
        aliases = ", ".join(topic.alias for topic in topics.ALL)
        raise BadConfig(f"topic {name!r}: no such topic", hint=f"the topics are {aliases}")
    return found
