from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from crawler import exchange
from crawler.exchange import BATCH, BREATH, EVERY, HUNGER, MOST_HELD, RESTING, SURE, Agenda
from crawler.model import Found, Grant, ImageDetail, Kind, Reply, Settlement, State, Stored, Task, Verb, pack
from crawler.turns import LAG
from crawler.urls import address

LEASE = 15.0
HOST = "a.example"


def task(number: int, host: str = HOST, kind: Kind = Kind.IMAGE) -> Task:
    url = f"https://{host}/{number}.jpg" if kind is not Kind.SOURCE else "list:urls.txt"
    return Task(number, kind, url, url, pack(ImageDetail()))


def reply(*tasks: Task, serial: int = 1, retry_in: float = 0.5, state: State = State.OPEN, **more: Any) -> Reply:
    return Reply(serial=serial, state=state, tasks=list(tasks), retry_in=retry_in, **more)


def agenda_with(*tasks: Task, now: float = 0.0, **grants: Grant) -> Agenda:
    agenda = Agenda(LEASE, 64)
    agenda.report({}, now)
    agenda.absorb(reply(*tasks, grants={name.replace("_", "."): grant for name, grant in grants.items()}), now)
    for host in agenda._hosts.values():
        host.answered()
        agenda._turns._sort(host, slow=False)
    return agenda


def numbers(agenda: Agenda, now: float) -> list[int]:
    found = []
    while (task := agenda.next(now)) is not None:
        found.append(task.number)
    return found


def done(number: int) -> Settlement:
    return Settlement(number=number, verb=Verb.DONE, outcome="success")


def test_a_host_waits_for_its_time_once_however_often_the_broker_answers() -> None:
    agenda = agenda_with(task(1), a_example=Grant(1, delay=5.0, wait=5.0))
    for serial in range(2, 100):
        assert agenda.next(1.0) is None
        agenda.report({}, 1.0)
        agenda.absorb(reply(serial=serial), 1.0)
    assert len(agenda._turns._delayed) == 1
    agenda.pause(task(1), 9.0, 4.0)
    assert numbers(agenda, 6.0) == [] and len(agenda._turns._delayed) == 1
    assert numbers(agenda, 13.5) == [1]


class TestGrants:
    def test_nothing_starts_without_one(self) -> None:
        agenda = agenda_with(task(1))
        assert agenda.next(0) is None
        assert (agenda.held, agenda.under_way) == (1, 0)

    def test_as_many_as_granted_are_under_way(self) -> None:
        agenda = agenda_with(*map(task, range(5)), a_example=Grant(2))
        assert numbers(agenda, 0) == [0, 1]
        assert agenda.under_way == 2
        agenda.ended(task(0), 1)
        agenda.settle(done(0))
        assert numbers(agenda, 1) == [2]

    def test_hosts_take_turns(self) -> None:
        tasks = [task(1), task(2), task(3, "b.example"), task(4, "b.example")]
        agenda = agenda_with(*tasks, a_example=Grant(2), b_example=Grant(2))
        assert numbers(agenda, 0) == [1, 3, 2, 4]

    def test_a_smaller_grant_ends_nothing_but_starts_nothing(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(2))
        assert numbers(agenda, 0) == [0, 1]
        agenda.report({}, 0)
        agenda.absorb(reply(grants={HOST: Grant(1)}, serial=2), 0)
        agenda.ended(task(0), 1)
        assert numbers(agenda, 1) == []
        agenda.ended(task(1), 1)
        assert numbers(agenda, 1) == [2]

    def test_a_larger_grant_starts_more(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(1))
        assert numbers(agenda, 0) == [0]
        agenda.report({}, 0)
        agenda.absorb(reply(grants={HOST: Grant(3)}, serial=2), 0)
        assert numbers(agenda, 0) == [1, 2]

    def test_a_grant_that_is_not_repeated_stays(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        assert numbers(agenda, 0) == [1]
        agenda.report({}, 0)
        agenda.absorb(reply(task(2), serial=2), 0)
        agenda.ended(task(1), 0)
        assert numbers(agenda, 0) == [2]

    def test_sources_need_no_grant_and_are_read_one_at_a_time(self) -> None:
        agenda = agenda_with(task(1, kind=Kind.SOURCE), task(2, kind=Kind.SOURCE))
        assert numbers(agenda, 0) == [1]
        agenda.ended(task(1, kind=Kind.SOURCE), 0)
        assert numbers(agenda, 0) == [2]


class TestDelays:
    def test_the_delay_counts_from_the_end_of_the_last(self) -> None:
        agenda = agenda_with(task(1), task(2), a_example=Grant(1, delay=2.0))
        assert numbers(agenda, 0) == [1]
        agenda.ended(task(1), 5.0)
        assert numbers(agenda, 5.0) == [] == numbers(agenda, 6.9)
        assert agenda.wakes_in(6.0, 10) == pytest.approx(1.0)
        assert agenda.wakes_in(6.0, 0.25) == 0.25
        assert agenda.wakes_in(9.0, 10) == 10, "it stands in line"
        assert numbers(agenda, 7.0) == [2]
        assert agenda.wakes_in(7.0, 10) == 10

    def test_a_wait_is_before_the_first(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1, wait=3.0))
        assert numbers(agenda, 2.9) == []
        assert numbers(agenda, 3.0) == [1]

    def test_a_host_that_waits_stops_no_other(self) -> None:
        agenda = agenda_with(task(1), task(2, "b.example"), a_example=Grant(1, wait=9.0), b_example=Grant(1))
        assert numbers(agenda, 0) == [2]

    def test_a_pause_holds_and_is_told_at_once(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(2))
        assert agenda.next(0) is not None
        assert not agenda.is_due(0.1)
        agenda.pause(task(0), 4.0, 0.0)
        assert agenda.is_due(0.1)
        agenda.ended(task(0), 0.1)
        assert numbers(agenda, 3.0) == []
        assert numbers(agenda, 4.0) == [1], "one at a time until the broker answers"
        agenda.report({}, 4.0)
        agenda.absorb(Reply(serial=2, state=State.OPEN, grants={"a.example": Grant(2)}), 4.0)
        assert numbers(agenda, 4.0) == [2]

    def test_a_pause_is_never_shortened(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        agenda.pause(task(1), 8.0, 0.0)
        agenda.pause(task(1), 2.0, 0.0)
        assert numbers(agenda, 7.0) == []
        assert numbers(agenda, 8.0) == [1]

    def test_pauses_grow_while_the_broker_is_silent(self) -> None:
        agenda = agenda_with(*map(task, range(9)), a_example=Grant(8))
        now, starts = 0.0, []
        for _ in range(2):  # what failed at the same moment counts once
            agenda.pause(task(0), 0.0, now)
        while now < SURE * LEASE:
            started = agenda.next(now)
            if started is not None:
                starts.append(now)
                agenda.ended(started, now)
                agenda.pause(started, 0.0, now)
            now += 0.5
        assert starts == [1.0, 3.0, 7.0, 11.0]

    def test_after_its_answer_pauses_are_short_again(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(1))
        for now in (0.0, 1.0):
            agenda.pause(task(0), 0.0, now)
        agenda.report({}, 3.0)
        agenda.absorb(reply(serial=2, grants={HOST: Grant(1)}), 3.0)
        agenda.pause(task(0), 0.0, 3.0)
        assert numbers(agenda, 4.0) == [0]


class TestRest:
    """Hosts that rest take no room of others."""

    def test_what_a_broker_knows_to_fail_goes_back(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(2))
        assert numbers(agenda, 0) == [0, 1]
        agenda.ended(task(0), 1.0)
        agenda.pause(task(0), 0.0, 1.0)
        assert agenda.held == 4, "until it is known to be alive, the broker may have none to give it to"
        agenda.report({}, 1.0)
        agenda.absorb(reply(serial=2), 1.1)
        assert {(s.number, s.verb) for s in agenda.report({}, 1.1).settlements} == {(n, Verb.RETURNED) for n in (2, 3)}
        assert (agenda.held, agenda.under_way) == (2, 2)

    def test_what_another_worker_saw_fail_goes_back(self) -> None:
        agenda = agenda_with(*map(task, range(3)), a_example=Grant(1))
        assert numbers(agenda, 0) == [0]
        agenda.report({}, 1.0)
        agenda.absorb(reply(task(7, "b.example"), serial=2, grants={HOST: Grant(1, wait=30.0)}), 1.0)
        assert {s.number for s in agenda.report({}, 1.0).settlements} == {1, 2}
        assert agenda.held == 2

    def test_an_ordinary_delay_is_waited_for(self) -> None:
        agenda = agenda_with(*map(task, range(3)), a_example=Grant(1, delay=2.0))
        assert numbers(agenda, 0) == [0]
        agenda.ended(task(0), 1.0)
        agenda.report({}, 1.0)
        agenda.absorb(reply(serial=2, grants={HOST: Grant(1, delay=2.0, wait=2.0)}), 1.0)
        assert not agenda.report({}, 1.0).settlements
        assert numbers(agenda, 3.0) == [1]

    def test_what_waits_for_a_delay_takes_no_room(self) -> None:
        waiting = [task(number, f"h{number // 5}.example") for number in range(10)]
        agenda = agenda_with(*waiting, **{f"h{n}_example": Grant(1, delay=9.0) for n in range(2)})
        assert agenda.room(16, 0.0) == 6
        for number in numbers(agenda, 0):
            agenda.ended(waiting[number], 0.0)
            agenda.settle(done(number))
        assert agenda.next(0.1) is None and agenda.held == 8
        assert agenda.room(16, 0.1) == 16

    def test_with_more_than_there_is_room_for_there_is_none(self) -> None:
        assert agenda_with(*map(task, range(4)), a_example=Grant(1)).room(3, 0.0) == 0

    def test_what_waits_is_bounded(self) -> None:
        most = 4
        waiting = [task(number, f"h{number}.example") for number in range(RESTING * most - 1)]
        delays = {f"h{n}_example": Grant(1, delay=9.0, wait=9.0) for n in range(len(waiting))}
        agenda = agenda_with(*waiting, **delays)
        assert agenda.next(0.0) is None
        assert agenda.room(most, 0.0) == 1

    def test_no_more_is_held_than_a_report_may_name(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1, delay=9.0, wait=9.0))
        assert agenda.next(0.0) is None
        assert agenda.room(10**6, 0.0) == MOST_HELD - 1

    def test_of_many_hosts_that_fail_news_is_gathered(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(4), now=1.0)
        assert agenda.next(1.0) is not None
        agenda.pause(task(0), 0.0, 1.0)
        assert not agenda.is_due(1.0 + BREATH / 2)
        assert agenda.is_due(1.0 + BREATH)


class TestHeldUp:
    """Hosts that keep connections for long take them, and room, from no other."""

    def untried(self, *tasks: Task, count: int = 8, connections: int = 64) -> Agenda:
        agenda = Agenda(LEASE, connections)
        agenda.report({}, 0.0)
        agenda.absorb(reply(*tasks, grants={address(task.at).authority: Grant(count) for task in tasks}), 0.0)
        return agenda

    def test_one_that_has_not_answered_is_asked_little(self) -> None:
        agenda = self.untried(*map(task, range(9)))
        assert numbers(agenda, 0.0) == [0, 1]
        agenda.ended(task(0), 0.1, lasted=0.1)
        agenda.settle(done(0))
        assert numbers(agenda, 0.1) == [2], "it could not be reached"
        agenda.ended(task(1), 0.1, lasted=0.1, answered=True)
        agenda.settle(done(1))
        assert numbers(agenda, 0.1) == [3, 4, 5, 6, 7, 8]

    def test_where_connections_are_scarce_they_are_for_hosts_that_answer_quickly(self) -> None:
        slow = [task(number, "slow.example") for number in range(9)]
        quick = [task(10 + number, "quick.example") for number in range(9)]
        agenda = self.untried(*slow, *quick, count=4, connections=4)
        assert numbers(agenda, 0.0) == [0, 10, 1, 11]
        for number, lasted in ((0, 3.0), (10, 0.1)):
            agenda.ended((slow + quick)[number if number < 9 else number - 1], 3.0, lasted=lasted, answered=True)
            agenda.settle(done(number))
        assert agenda.next(3.0, 2) == slow[2], "it has less than half of the connections"
        assert [agenda.next(3.0, 2) for _ in range(4)] == [*quick[2:5], None]
        assert numbers(agenda, 3.0) == [3, 4]

    def test_what_it_holds_takes_no_room(self) -> None:
        agenda = self.untried(*map(task, range(9)))
        assert len(numbers(agenda, 0.0)) == 2
        assert agenda.room(16, LAG) == 7
        assert agenda.room(16, LAG + 0.1) == 16

    def test_while_nothing_can_be_started_more_is_asked_for(self) -> None:
        agenda = self.untried(*map(task, range(9)))
        assert len(numbers(agenda, 0.0)) == 2
        assert not agenda.is_due(HUNGER - 0.1)
        assert agenda.is_due(HUNGER)

    def test_while_none_that_answers_quickly_can_be_started_more_is_asked_for(self) -> None:
        agenda = self.untried(*map(task, range(9)))
        assert not agenda.is_due(HUNGER - 0.1)
        assert agenda.is_due(HUNGER), "its host stands in line, where others may keep connections for long"
        quick = agenda_with(*map(task, range(9)), a_example=Grant(2))
        assert quick.next(0.0) is not None and not quick.is_due(HUNGER)

    def test_what_waits_there_is_not_waited_for(self) -> None:
        resting = [task(number, "b.example") for number in range(9, 90)]
        agenda = agenda_with(*map(task, range(4)), *resting, a_example=Grant(4), b_example=Grant(1))
        agenda._turns._sort(agenda._hosts["b.example"], slow=True)
        agenda.report({}, 0.0)
        agenda.absorb(reply(serial=2, grants={HOST: Grant(4)}), 0.0)
        begun = [agenda.next(0.0, spare=0) for _ in range(3)]
        assert None not in begun and agenda.is_due(0.1), "half of what can be begun soon"

    def test_what_keeps_its_connections_is_known_by_the_next_report(self) -> None:
        agenda = agenda_with(*map(task, range(9)), a_example=Grant(4))
        assert len(numbers(agenda, 0.0)) == 4
        agenda.report({}, LAG)
        assert not agenda._hosts[HOST].patient
        agenda.absorb(reply(serial=2), LAG)
        agenda.report({}, LAG + 0.1)
        assert agenda._hosts[HOST].patient and agenda._turns._patient_busy == 4


class TestLease:
    def test_towards_its_end_nothing_is_started_until_a_reply(self) -> None:
        agenda = agenda_with(task(1), task(2), a_example=Grant(1))
        assert agenda.next(SURE * LEASE) is not None
        agenda.ended(task(1), SURE * LEASE)
        assert agenda.next(SURE * LEASE + 0.1) is None

    def test_it_begins_when_the_report_was_sent(self) -> None:
        """A reply may have been on its way for longer than the lease."""
        agenda = Agenda(LEASE, 64)
        agenda.report({}, 0)
        agenda.absorb(reply(task(1), grants={HOST: Grant(1)}), LEASE)
        assert agenda.next(LEASE) is None
        assert agenda.is_due(LEASE)

    def test_after_it_only_what_the_broker_tells_anew_counts(self) -> None:
        agenda = agenda_with(task(1), task(2), task(3), a_example=Grant(2))
        assert numbers(agenda, 0) == [1, 2]
        assert not agenda.lapsed(SURE * LEASE)
        assert agenda.lapsed(LEASE)
        report = agenda.report({}, LEASE)
        assert (report.heard, report.held) == (0, [1, 2])
        assert [(said.number, said.verb) for said in report.settlements] == [(3, Verb.RETURNED)]
        agenda.absorb(reply(task(4)), LEASE)
        agenda.ended(task(1), LEASE)
        agenda.ended(task(2), LEASE)
        assert numbers(agenda, LEASE) == [], "the grant of before is none any more"
        agenda.report({}, LEASE)
        agenda.absorb(reply(grants={HOST: Grant(1)}, serial=2), LEASE)
        assert numbers(agenda, LEASE) == [4]

    def test_before_the_first_reply_nothing_is_started(self) -> None:
        assert Agenda(LEASE, 64).next(1.0) is None


class TestUrgency:
    def test_the_first_exchange_is_due_at_once_and_not_twice(self) -> None:
        agenda = Agenda(LEASE, 64)
        assert agenda.is_due(100.0)
        agenda.report({}, 100.0)
        assert not agenda.is_due(100.0) and not agenda.is_due(1000.0)

    def test_an_idle_worker_asks_when_told_to(self) -> None:
        agenda = Agenda(LEASE, 64)
        agenda.report({}, 0)
        agenda.absorb(reply(retry_in=2.0), 0)
        assert not agenda.is_due(1.9)
        assert agenda.is_due(2.0)

    def test_half_of_the_tasks_used(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(4))
        assert agenda.next(0) is not None
        assert not agenda.is_due(0.1)
        assert agenda.next(0) is not None
        assert agenda.is_due(0.1)
        agenda.report({}, 0.1)
        agenda.absorb(reply(serial=2), 0.1)
        assert not agenda.is_due(0.2), "of what is left none is used"
        agenda.ended(task(0), 0.2)
        assert agenda.next(0.2) is not None
        assert agenda.is_due(0.2)

    def test_that_the_network_works_is_told_once(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        agenda.tell_reach()
        assert agenda.is_due(BREATH) and agenda.report({}, BREATH).reaches
        agenda.absorb(reply(serial=2), BREATH)
        assert not agenda.report({}, 1.0).reaches

    def test_a_batch_of_results(self) -> None:
        agenda = agenda_with(*map(task, range(3 * BATCH)), a_example=Grant(BATCH))
        for number in numbers(agenda, 0)[:-1]:
            agenda.settle(done(number))
        assert not agenda.is_due(0.1)
        agenda.settle(done(BATCH - 1))
        assert agenda.is_due(0.1)

    def test_every_few_seconds(self) -> None:
        agenda = agenda_with(*map(task, range(9)), a_example=Grant(1))
        assert agenda.next(0) is not None
        assert not agenda.is_due(EVERY - 0.1)
        assert agenda.is_due(EVERY)

    def test_often_enough_for_a_short_lease(self) -> None:
        agenda = Agenda(3.0, 64)
        agenda.report({}, 0)
        agenda.absorb(reply(*map(task, range(9)), grants={HOST: Grant(1)}), 0)
        assert agenda.next(0) is not None
        assert not agenda.is_due(0.9)
        assert agenda.is_due(1.0)

    def test_a_result_is_told_at_once_when_all_that_is_left_must_wait(self) -> None:
        agenda = agenda_with(*map(task, range(9)), a_example=Grant(1, delay=60.0), now=0)
        assert agenda.next(0) is not None
        agenda.ended(task(0), 0.1)
        agenda.settle(done(0))
        assert agenda.next(0.1) is None, "its host is to be left alone for a minute"
        assert agenda.is_due(0.1)
        assert not agenda.is_due(BREATH / 2), "of many such hosts one or other always has news"

    def test_the_last_result_is_told_at_once(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1), now=0)
        assert agenda.next(0) is not None
        agenda.ended(task(1), 0.1)
        agenda.settle(done(1))
        assert agenda.is_due(0.1)


class TestReport:
    def test_it_tells_what_there_is_to_tell(self) -> None:
        agenda = agenda_with(task(1), task(2), task(3, "b.example"), a_example=Grant(2), b_example=Grant(1))
        assert len(numbers(agenda, 0)) == 3
        agenda.ended(task(1), 1, latency=0.2)
        agenda.settle(done(1))
        agenda.ended(task(2), 1, latency=0.4)
        report = agenda.report({Kind.IMAGE: 5}, 1)
        assert report.settlements == [done(1)]
        assert sorted(report.held) == [2, 3]
        assert report.busy == {"b.example": 1}
        assert report.latency == {HOST: pytest.approx(0.3)}
        assert report.room == {Kind.IMAGE: 5}
        assert report.heard == 1
        agenda.absorb(reply(serial=2), 1)
        again = agenda.report({}, 2)
        assert (again.settlements, again.latency, again.heard) == ([], {}, 2)

    def test_all_told_is_after_the_reply(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        assert numbers(agenda, 0) == [1]
        agenda.ended(task(1), 0)
        assert not agenda.all_told
        agenda.settle(done(1))
        assert not agenda.all_told
        agenda.report({}, 0)
        assert not agenda.all_told
        agenda.absorb(reply(serial=2), 0)
        assert agenda.all_told

    def test_stored_images_are_told_in_columns(self) -> None:
        agenda = agenda_with(task(1), task(2), a_example=Grant(2))
        assert numbers(agenda, 0) == [1, 2]
        for number in (1, 2):
            agenda.ended(task(number), 0)
        agenda.stored(task(2), 70, Raw(b"\xc0"))
        agenda.stored(task(2), 70, Raw(b"\xc0"))
        assert not agenda.all_told
        report = agenda.report({}, 0)
        assert (report.stored, report.held) == (Stored([2], [70], [Raw(b"\xc0")]), [1])
        agenda.stored(task(1), 80, Raw(b"\xc0"))
        agenda.absorb(reply(serial=2), 0)
        assert not agenda.all_told
        assert agenda.is_due(0.1)
        assert agenda.report({}, 0).stored.sizes == [80]
        agenda.absorb(reply(serial=3), 0)
        assert agenda.all_told

    def test_a_task_is_settled_once(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        agenda.settle(done(1))
        agenda.settle(done(1))
        agenda.settle(done(99))
        assert agenda.report({}, 0).settlements == [done(1)]

    def test_hosts_without_tasks_and_grant_are_forgotten(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        assert numbers(agenda, 0) == [1]
        agenda.ended(task(1), 0)
        agenda.settle(done(1))
        agenda.report({}, 0)
        agenda.absorb(reply(serial=2, grants={HOST: Grant(0)}), 0)
        agenda.report({}, 1)
        assert not agenda._hosts
        agenda.absorb(reply(task(2), serial=3, grants={HOST: Grant(1)}), 1)
        assert numbers(agenda, 1) == [2]

    def test_a_host_of_which_nothing_is_held_is_forgotten_as_its_broker_does(self) -> None:
        agenda = agenda_with(task(1), task(2, "b.example"), a_example=Grant(2), b_example=Grant(2))
        agenda.robots = {f"{scheme}://{host}": "d" for scheme in ("http", "https") for host in (HOST, "b.example")}
        assert numbers(agenda, 0) == [1, 2]
        for each in (task(1), task(2, "b.example")):
            agenda.ended(each, 0)
        agenda.settle(done(1))
        agenda.report({}, 0)
        assert agenda._hosts.keys() == {"b.example"}, "its image is on its way into the store"
        assert agenda.robots.keys() == {"http://b.example", "https://b.example"}
        agenda.absorb(reply(task(3), serial=2, grants={HOST: Grant(1)}), 0)
        assert numbers(agenda, 0) == [3]

    def test_a_host_is_not_forgotten_before_all_is_told_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "MOST_BYTES", 10)
        agenda = agenda_with(task(1), task(2), a_example=Grant(2))
        assert numbers(agenda, 0) == [1, 2]
        for number in (1, 2):
            agenda.ended(task(number), 0)
            found = Found(Kind.IMAGE, f"https://b.example/{number}.png", pack(ImageDetail()))
            agenda.settle(Settlement(number=number, verb=Verb.DONE, outcome="success", found=[found]))
        told = []
        for serial in (2, 3):
            told.append(len(agenda.report({}, 0).settlements))
            assert bool(agenda._hosts) == (serial == 2)
            agenda.absorb(reply(serial=serial), 0)
        assert told == [1, 1]

    def test_what_was_in_a_shard_and_goes_back_is_held_no_longer(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        assert numbers(agenda, 0) == [1]
        agenda.ended(task(1), 0)
        agenda.bind(task(1))
        assert agenda.held == 0
        agenda.settle(Settlement(number=1, verb=Verb.RETURNED))
        assert agenda.held == 0


class TestAbsorb:
    def test_a_task_that_is_held_already_is_not_taken_twice(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(3))
        assert numbers(agenda, 0) == [1]
        agenda.report({}, 0)
        agenda.absorb(reply(task(1), task(2), serial=2), 0)
        assert numbers(agenda, 0) == [2]
        assert agenda.held == 2

    def test_it_takes_what_the_broker_says(self) -> None:
        agenda = Agenda(LEASE, 64)
        agenda.absorb(
            reply(state=State.DRAINING, robots={"https://a.example": "d1"}, spec_digest="s", notice="the network"), 0
        )
        assert (agenda.state, agenda.spec_digest, agenda.notice) == (State.DRAINING, "s", "the network")
        assert agenda.robots == {"https://a.example": "d1"}


class TestReturning:
    def test_all_that_is_not_under_way_goes_back(self) -> None:
        agenda = agenda_with(*map(task, range(4)), a_example=Grant(1))
        assert numbers(agenda, 0) == [0]
        agenda.return_ready()
        assert (agenda.held, agenda.under_way) == (1, 1)
        assert agenda.is_due(BREATH)
        assert {(s.number, s.verb) for s in agenda.report({}, 0).settlements} == {(n, Verb.RETURNED) for n in (1, 2, 3)}
        agenda.ended(task(0), 1)
        assert agenda.next(1) is None

    def test_with_nothing_to_return_nothing_is_urgent(self) -> None:
        agenda = agenda_with(task(1), a_example=Grant(1))
        assert numbers(agenda, 0) == [1]
        agenda.report({}, 0)
        agenda.absorb(reply(serial=2), 0)
        agenda.return_ready()
        assert not agenda.is_due(0.1)

    def test_again_puts_a_task_in_front(self) -> None:
        agenda = agenda_with(*map(task, range(3)), a_example=Grant(1))
        first = agenda.next(0)
        assert first is not None
        agenda.ended(first, 0)
        first.at = f"https://{HOST}/elsewhere.jpg"
        agenda.again(first)
        assert (agenda.held, agenda.under_way) == (3, 0)
        following = agenda.next(0)
        assert following is not None and following.at == first.at
