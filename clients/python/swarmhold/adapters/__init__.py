"""Adapters by which the tools of agent frameworks wait for people: one module for each framework, which it imports.

Each asks by a `Hold` of `swarmhold.asking`. A tool call, an interrupt or a question of the model is asked once, by its
id: a program that was killed while it waited runs again and finds the answer. Several that are asked together are
consumed when all of them are answered. What nobody allowed, since it expired or was withdrawn, is a rejection.
"""
