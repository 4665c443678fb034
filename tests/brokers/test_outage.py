from crawler.brokers.outage import GIVE_UP, HOSTS, TRUST, Outage


def failing(hosts: int, now: float = 100.0) -> Outage:
    outage = Outage()
    for i in range(hosts):
        outage.failed(f"h{i}.test", now)
    return outage


def test_few_hosts_are_no_outage() -> None:
    outage = failing(HOSTS - 1)
    assert not outage.suspected
    assert not outage.check(101.0)


def test_many_hosts_without_any_answer_are() -> None:
    outage = failing(HOSTS)
    assert outage.suspected
    assert outage.check(101.0)
    assert str(HOSTS) in outage.notice()


def test_one_host_failing_often_is_none() -> None:
    outage = Outage()
    for _ in range(10 * HOSTS):
        outage.failed("h.test", 100.0)
    assert not outage.check(101.0)


def test_an_answer_in_between_begins_the_count_anew() -> None:
    outage = failing(HOSTS - 1)
    outage.answered()
    outage.failed("other.test", 101.0)
    assert not outage.suspected


def test_an_answer_ends_it() -> None:
    outage = failing(HOSTS)
    outage.answered()
    assert not outage.suspected
    assert not outage.check(101.0)


def test_after_half_an_hour_it_is_the_hosts_after_all() -> None:
    outage = failing(HOSTS, now=100.0)
    assert outage.check(100.0 + GIVE_UP)
    assert not outage.check(100.0 + GIVE_UP + 1)
    for i in range(2 * HOSTS):
        outage.failed(f"g{i}.test", 200.0 + GIVE_UP)
    assert not outage.check(201.0 + GIVE_UP)


def test_after_giving_up_an_answer_arms_it_again() -> None:
    outage = failing(HOSTS, now=100.0)
    outage.check(101.0 + GIVE_UP)
    outage.answered()
    for i in range(HOSTS):
        outage.failed(f"g{i}.test", 5000.0)
    assert outage.check(5001.0)


def test_failures_meanwhile_do_not_prolong_it() -> None:
    outage = failing(HOSTS, now=100.0)
    outage.failed("late.test", 100.0 + GIVE_UP - 1)
    assert not outage.check(100.0 + GIVE_UP + 1)


def test_a_worker_whose_network_works_ends_it_for_a_while() -> None:
    outage = failing(HOSTS, now=100.0)
    outage.dismiss(110.0)
    assert not outage.check(110.0)
    for now, down in ((109.0 + TRUST, False), (110.0 + TRUST, True)):
        for i in range(HOSTS):
            outage.failed(f"g{i}.test", now)
        assert outage.check(now) is down
