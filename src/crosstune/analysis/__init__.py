"""What a matrix means: pure functions, a frozen value in, a frozen value out.

This room reads `tasks` and `results`; it never imports torch or `study`, so that it runs on a
laptop over results made anywhere.
"""
