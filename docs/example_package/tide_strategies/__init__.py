"""Strategies that follow slow moves."""
