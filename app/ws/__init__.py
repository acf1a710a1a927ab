"""The WebSocket edge: frames, the protocol as a state machine without I/O, and the sockets that carry it for senior
consoles and back-end connections.
"""
