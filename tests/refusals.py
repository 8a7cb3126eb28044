"""What every refusal has in common: one line that names the thing and the fix."""

import pytest

from ibsync.errors import PlanError


def refusal(kind, call, *parts):
    """The text of the call's error: one line that holds every part."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text
    return text


def plan_refusal(call, *parts):
    """The same for a PlanError."""
    return refusal(PlanError, call, *parts)
