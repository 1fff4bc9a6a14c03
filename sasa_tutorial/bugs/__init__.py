"""Bugs that public implementations of these layers really have, each ready to be brought into the library and caught.

Every one of them keeps the shapes, and many train to an accuracy that raises no suspicion. The tests have to kill all
of them (`tests/mutants.py`), and the last notebook hunts thirteen.
"""

from sasa_tutorial.bugs.catalogue import BUGS, Bug, right_layer
from sasa_tutorial.bugs.local_attention import attend, content, equation, local, offset_logits

__all__ = ["BUGS", "Bug", "attend", "content", "equation", "local", "offset_logits", "right_layer"]
