"""What was found: the folder of a study, the outcomes of its cells, the transfer matrix.

- `store`: one folder, one study; entries that appear whole or not at all
- `content`: what its JSON files say, checked
- `entry`: how an entry is sealed and found damaged
- `outcomes`: the answers of one cell, an example a row
- `paired`, `resampling`: what the examples of a cell say, tuned minus base
- `inference`: intervals, tests and corrections of many cells
- `cells`: the table of cells, from the outcomes of one target at a time
- `matrix`: the transfer matrix, read from the store alone
- `grid`: one slice of it as arrays

Importing this room costs nothing; no part of it knows a task or a model.
"""
