"""Forecasters in the loop: windows cut from closed bars, batches, a store by content, delivery, scores, skill."""
