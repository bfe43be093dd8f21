"""Groups of commands; main.py puts them together."""
