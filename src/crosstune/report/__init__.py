"""How results are told: one self-contained page.

This room reads `analysis` and `results`.

- `page`: the page of a study, from its folder or from values
- `facts`: what was asked for, how long it took, with which versions
- `words`: what stands out and what got worse, in sentences
- `findings`: what an analysis found, for a terminal, a file and the page
- `payload`: what the page's script draws, as JSON that nothing breaks out of

`page.html` is the template; `page.css` and the scripts, `page.js` last, are put into it. Importing
this room costs nothing.
"""
