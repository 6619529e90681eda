"""Where it runs. An executor maps a function over jobs; it knows nothing of what they are."""

from crosstune.executors.local import Executor, executors

__all__ = ["Executor", "executors"]
