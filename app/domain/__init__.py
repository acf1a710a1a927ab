"""The values and rules of the swarm: what an id, a token, a task, an attempt, a question or an output is, and which
changes of it are allowed.

Everything here is a frozen value or a plain function of values. Nothing reads a clock, a file, a socket or a setting,
and nothing is imported from the rest of the package.
"""
