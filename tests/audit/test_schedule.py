"""The simulated scheduler keeps its promises on every graph, and to hand-computed schedules on small ones."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapmid.audit.schedule import critical_path, starts, wall_clock

Needs = dict[int, tuple[int, ...]]
DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}
SECONDS = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 1.0, "e": 4.0}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Needs, dict[int, float]]:
    count = draw(st.integers(1, 12))
    needs = {
        task: tuple(sorted(draw(st.sets(st.integers(0, task - 1), max_size=3)))) if task else ()
        for task in range(count)
    }
    return needs, {task: float(draw(st.integers(0, 20))) for task in needs}


def test_schedules_computed_by_hand() -> None:
    assert critical_path(DIAMOND, SECONDS) == ("a", "c", "d")
    assert starts(DIAMOND, SECONDS, 1) == {"a": 0, "b": 1, "c": 3, "d": 6, "e": 7}
    assert starts(DIAMOND, SECONDS, 2) == {"a": 0, "e": 0, "b": 1, "c": 3, "d": 6}
    assert starts(DIAMOND, SECONDS, 3) == {"a": 0, "e": 0, "b": 1, "c": 1, "d": 4}
    assert [wall_clock(DIAMOND, SECONDS, machines) for machines in (1, 2, 3, 64)] == [11, 7, 5, 5]


def test_one_more_machine_may_take_longer() -> None:
    """Graham's anomaly (1969): the order of the list is kept, even where it is not the best one."""
    needs: Needs = {1: (), 2: (), 3: (), 4: (), 5: (4,), 6: (4,), 7: (4,), 8: (4,), 9: (1,)}
    seconds = dict(zip(needs, (3.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 9.0), strict=True))
    assert wall_clock(needs, seconds, 3) == 12
    assert wall_clock(needs, seconds, 4) == 15


def test_nothing_to_do_takes_no_time() -> None:
    assert critical_path({}, {}) == ()
    assert wall_clock({}, {}, 8) == 0


@given(graphs(), st.integers(1, 5))
def test_bounds_of_list_scheduling(graph: tuple[Needs, dict[int, float]], machines: int) -> None:
    needs, seconds = graph
    work, longest = sum(seconds.values()), sum(seconds[task] for task in critical_path(needs, seconds))
    found = wall_clock(needs, seconds, machines)
    assert found >= max(longest, work / machines) - 1e-9
    assert found <= work / machines + longest * (1 - 1 / machines) + 1e-9
    assert wall_clock(needs, seconds, 1) == pytest.approx(work)
    assert wall_clock(needs, seconds, len(needs)) == pytest.approx(longest)


@given(graphs(), st.integers(1, 5))
def test_tasks_wait_for_their_needs_and_for_a_machine(graph: tuple[Needs, dict[int, float]], machines: int) -> None:
    needs, seconds = graph
    began = starts(needs, seconds, machines)
    assert began.keys() == needs.keys()
    for task, start in began.items():
        assert all(began[one] + seconds[one] <= start for one in needs[task])
        running = [one for one, at in began.items() if at <= start < at + seconds[one]]
        assert len(running) <= machines


@given(graphs())
def test_the_critical_path_is_a_chain_and_the_longest(graph: tuple[Needs, dict[int, float]]) -> None:
    needs, seconds = graph
    chain = critical_path(needs, seconds)
    assert all(before in needs[after] for before, after in itertools.pairwise(chain))
    assert not needs[chain[0]]

    def longest(task: int) -> float:
        return seconds[task] + max((longest(one) for one in needs[task]), default=0.0)

    assert sum(seconds[task] for task in chain) == max(map(longest, needs))
