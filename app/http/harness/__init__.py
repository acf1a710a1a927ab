"""Hooks of coding agents, such as Claude Code and Codex: what they ask becomes a question, its answer their reply."""
