"""Conditions: what a sample is to be like. A label, a vector, a picture, or a sequence of tokens.

A condition checks its data, can be hidden from the network (each alone, which is what guidance needs), has a null value that means
"not given", and describes itself: endpoints, the command line, clients and cards are made from that description.

The value of a condition is one tensor or several, each with a name: a label is ``{"label": (B,)}``, a masked sequence
``{"text": (B, L), "text_mask": (B, L)}``. Networks get them as a list, in the order of ``specs``, after what they always get.
"""

from kgen.core.conditions.collection import Conditions, of_classes
from kgen.core.conditions.condition import Condition
from kgen.core.conditions.kinds import ImageCondition, LabelCondition, SequenceCondition, VectorCondition

__all__ = [
    "Condition",
    "Conditions",
    "ImageCondition",
    "LabelCondition",
    "SequenceCondition",
    "VectorCondition",
    "of_classes",
]
