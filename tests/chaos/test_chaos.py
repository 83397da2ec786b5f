"""A short look; ``make chaos`` takes a long one."""

import pytest
from chaos import COMMANDS, Chaos


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_kill_leaves_is_whole_and_training_goes_on_to_the_same_end(zygote, command, world):
    chaos = Chaos(zygote, world.folder / "chaos", seed=len(command))
    kills = 2 if command.startswith("train") else 1
    for _ in (chaos.training if command.startswith("train") else chaos.output)(command, kills):
        pass
    assert chaos.kills[command] >= kills
