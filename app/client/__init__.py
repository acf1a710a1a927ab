"""The Python client that other programs use to talk to a node: typed calls over HTTP and frames over WebSocket.

It imports the wire shapes and the domain values, never the server, so that it stays small wherever it is installed.
"""
