"""Hints between nodes: wake this task, deliver that question, stop that attempt.

A hint may be lost, doubled or late. The truth is in the state, and whoever waits for a hint also reads the state again
at a slower pace: a lost one costs a delay, never an answer.
"""
