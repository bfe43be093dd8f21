"""How fast Barcast is, beside other engines doing the same work in the same process. `python benchmarks/engine.py`."""
