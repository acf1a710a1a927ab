"""Operator backends, spawn hooks and senior bridges: what they promise, and the registries that find them by id."""
