"""What a signal does to a training."""

from __future__ import annotations

import signal

import pytest

from corpuscle.interfaces.commands.models import Stopper


def test_a_signal_stops_after_the_epoch_and_under_torchrun_at_once(monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    stopper = Stopper()
    stopper._handle(signal.SIGTERM, None)
    assert stopper.asked()
    assert "Stopping after this epoch" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        stopper._handle(signal.SIGTERM, None)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(KeyboardInterrupt):
        Stopper()._handle(signal.SIGTERM, None)
