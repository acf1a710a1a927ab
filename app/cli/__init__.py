"""The command line, `swarmhold`: serve a node, run the demonstration, and operate a running one.

Each command is a thin edge: it reads its options, calls the client or starts the server, and prints the result for a
person or, when asked, as JSON for a program.
"""
