"""What is to be done: a study, its plan, and running what is missing of it.

- `schema`: the study as a value, from YAML or built directly
- `plan`: everything resolved, everything wrong found
- `caveats`: what is allowed but may not be meant
- `keys`: what decides a result, hashed
- `estimate`: what a plan costs, roughly
- `worker`: one job, every cell proved
- `run`: what is missing, in order
- `progress`: where a run stands
"""
