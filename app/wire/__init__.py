"""The shapes that cross the network: request and reply bodies and WebSocket frames as pydantic models.

They are shared by every edge, the Python client and the command line, so that one definition serves both ends of a
call. They say how a value looks outside (RFC 3339 instants, seconds, camel or snake names), never what it means: that
is the domain's.
"""
