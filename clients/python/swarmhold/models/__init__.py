"""The shapes that cross the network: request and reply bodies and WebSocket frames as pydantic models.

They are shared by every edge, the Python client and the command line, so that one definition serves both ends of a
call. They say how a value looks outside (RFC 3339 instants, seconds), never what it means: that is the server's.

One module per noun. Requests refuse unknown fields; replies and the server's frames keep them, so that adding a field
never breaks a reader. An optional field that is not set is left out, see `swarmhold.models.shapes`.
"""
