"""How results are told: tables, figures, one self-contained page.

This room reads `analysis` and `results`.
"""
