"""Hints: notifications that wake the waiters for a change, in this process or another one.

A hint may be lost, duplicated or late. Only the state is authoritative, and every waiter reads it again now and then
even without a hint: a lost hint costs a delay, never an answer.
"""
