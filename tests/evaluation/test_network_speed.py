from __future__ import annotations

from corpuscle.evaluation import network_speed
from corpuscle.evaluation.network_speed import network_rates
from corpuscle.models.bundle import load_bundle


def test_networks_take_turns_and_the_median_counts(monkeypatch):
    """A made-up clock: each batch of network "a" takes 1 s, of "b" 4 s, and one turn of "a" is disturbed."""
    now, order, disturbed = [0.0], [], iter([0] * 4 + [60] + [0] * 10)

    def runner(bundle):
        def run():
            order.append(bundle)
            now[0] += 1.0 + next(disturbed) if bundle == "a" else 4.0

        return run

    monkeypatch.setattr(network_speed, "_batch_runner", runner)
    monkeypatch.setattr(network_speed.time, "perf_counter", lambda: now[0])
    seen = []
    assert network_rates(["a", "b"], progress=lambda done, total: seen.append((done, total))) == (8.0, 2.0)
    assert order == ["a", "a", "b", "b", *["a", "b"] * 5]
    assert seen == [(turn, 5) for turn in range(1, 6)]


def test_fast_networks_are_run_until_a_turn_is_long_enough(monkeypatch):
    now, calls = [0.0], [0]

    def run():
        calls[0] += 1
        now[0] += 0.05

    monkeypatch.setattr(network_speed, "_batch_runner", lambda bundle: run)
    monkeypatch.setattr(network_speed.time, "perf_counter", lambda: now[0])
    (rate,) = network_rates(["a"])
    assert abs(rate - 160) < 1e-6
    assert calls[0] in (2 + 5 * 4, 2 + 5 * 5)  # 0.2 s / 0.05 s, as floats have it


def test_the_shipped_network_is_measured():
    assert network_rates([load_bundle()])[0] > 0.1
