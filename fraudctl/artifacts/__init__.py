"""Where jars, zips and wheels come from: pinned, fetched, built, and named by their content.

The way of one jar, from coordinates to class path:

1. A lock file (``flink/jars.lock``) pins ``group:artifact:version sha256 bytes``; `pins` reads it.
2. `downloads` looks the jar up in the cache's ``verified.json``: same size and date as when it was hashed, so done.
3. Else `fetcher` streams it from a Maven repository, hashing on the way, and moves it into place if the hash is right.
4. `java` names the runtime and joins the jars to a class path.
5. `jars` compiles the project's own sources against it, into ``<name>-<hash of everything that went in>.jar``.
6. `fat_jar` merges application and libraries into the one jar that Managed Flink takes.
7. `bundles` adds the functions' zips, with the pinned `wheels` in them, and gives what a deploy to AWS uploads.

Downloads and builds report by callback; `callbacks` turns that into a stream. `resources` finds the packaged sources.
"""
