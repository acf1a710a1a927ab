"""The values and rules of the swarm: ids, tokens, tasks, attempts, questions and outputs, and their allowed changes.

Everything here is a frozen value or a plain function of values. Nothing reads a clock, a file, a socket or a setting,
and nothing is imported from the rest of the package. `docs/glossary.md` defines the terms.
"""
