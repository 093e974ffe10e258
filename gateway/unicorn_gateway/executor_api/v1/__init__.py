"""netunicorn's protocol for its own unmodified executor and tasks: the same states, tables and records as v2's.

The token travels in the prefix of the URL. Nothing that an executor sent is unpickled.
"""
