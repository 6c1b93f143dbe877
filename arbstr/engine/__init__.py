"""The decisions: whom to ask, in which order, what to do when it fails, what it cost."""

import sys

# httpx's own command line would bring in rich, click and pygments: 40 ms and 10 MB. Without it httpx does as well.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how a module is declared absent
