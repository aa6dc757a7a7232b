"""Functions that held up everybody are refused for a while."""

import pytest

from camber.clock import ManualClock
from camber.functions.conduct import Conduct, RefusedError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def refused_seconds(conduct: Conduct) -> int:
    with pytest.raises(RefusedError) as caught:
        conduct.check("messages:search")
    text = str(caught.value)
    assert text.startswith("messages:search held up every other client: it looped at a.py:3. ")
    return int(text.rpartition("another ")[2].split()[0])


def overrun(conduct: Conduct) -> None:
    conduct.note_overrun("messages:search", 1.0, "it looped at a.py:3.")


def test_a_function_that_was_never_stopped_may_be_called(clock: ManualClock) -> None:
    conduct = Conduct(clock)
    assert conduct.is_spotless
    conduct.check("messages:search")


def test_each_time_in_a_row_it_is_refused_for_twice_as_long(clock: ManualClock) -> None:
    conduct = Conduct(clock)
    seen = []
    for _ in range(6):
        overrun(conduct)
        seen.append(refused_seconds(conduct))
        clock.advance(seen[-1])
        conduct.check("messages:search")
    assert seen == [4, 8, 16, 32, 60, 60]


def test_a_success_in_between_is_a_new_beginning(clock: ManualClock) -> None:
    conduct = Conduct(clock)
    overrun(conduct)
    overrun(conduct)
    conduct.note_success("messages:search")
    assert conduct.is_spotless
    overrun(conduct)
    assert refused_seconds(conduct) == 4


def test_others_are_not_refused_and_other_code_is_another_matter(clock: ManualClock) -> None:
    conduct = Conduct(clock)
    overrun(conduct)
    conduct.check("messages:list")
    conduct.clear()
    conduct.check("messages:search")


def test_what_froze_the_server_is_refused_for_long_and_says_where(clock: ManualClock) -> None:
    conduct = Conduct(clock)
    conduct.note_freeze("messages:search", "convex/messages.py:12")
    with pytest.raises(RefusedError, match=r"froze the server at convex/messages\.py:12.* 600 s"):
        conduct.check("messages:search")
