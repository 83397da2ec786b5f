import pytest

from rechub_cli.kernels import loops


@pytest.fixture
def without(monkeypatch):
    """Call a function on torch's own path."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setattr(loops, "library", lambda: None)
            return function()

    return call
