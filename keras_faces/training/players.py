"""The sides of a model's game, and their optimizers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras

from keras_faces.errors import UserError, unknown_name

LEAST_EPSILON = 1e-30  # of an optimizer: less is next to nothing in float32, and 0 / 0 is no number


class Player(NamedTuple):
    """One side of a model's game.

    Attributes:
        name: Name of the player, of its optimizer and of its logged loss.
        networks: The networks it trains; it leaves all others alone.
        terms: Names of the terms of its loss; it lowers their sum.
    """

    name: str
    networks: Sequence[keras.Model]
    terms: Sequence[str]

    @property
    def variables(self) -> list:
        """The variables it trains."""
        return [variable for network in self.networks for variable in network.trainable_variables]


@keras.saving.register_keras_serializable(package="keras_faces")
class PlayerOptimizers(keras.optimizers.Optimizer):
    """The optimizers of all players, which Keras sees as one.

    On JAX an optimizer that Keras does not know as `model.optimizer` silently loses its state at
    every step; this one carries the others there, into saved files and through reloading.

    Args:
        optimizers: Dict mapping each player's name to its optimizer.
        name: Name of the group.
    """

    def __init__(
        self,
        optimizers: Mapping[str, keras.optimizers.Optimizer],
        name: str = "player_optimizers",
    ):
        super().__init__(learning_rate=0.0, name=name)
        self.by_player = {
            player: keras.optimizers.get(optimizer) for player, optimizer in optimizers.items()
        }
        if len({id(optimizer) for optimizer in self.optimizers}) < len(self.by_player):
            raise UserError("Give every player an optimizer of its own. Received: one for several.")
        for player, optimizer in self.by_player.items():
            optimizer.name = player  # by which Keras's callbacks tell their rates apart

    def __getitem__(self, player_name: str) -> keras.optimizers.Optimizer:
        return self.by_player[player_name]

    @property
    def optimizers(self) -> list:
        # Keras's own callbacks look for a list of this name.
        return list(self.by_player.values())

    @property
    def learning_rate(self):
        """The learning rate of the only player, or those of several by name, as they are now.

        A number that it is set to becomes the rate of all; a dict sets those it names.
        """
        if len(self.by_player) == 1:
            return self.optimizers[0].learning_rate
        return {name: float(one.learning_rate) for name, one in self.by_player.items()}

    @learning_rate.setter
    def learning_rate(self, rates):
        if not isinstance(rates, Mapping):
            rates = dict.fromkeys(self.by_player, rates)
        for player, rate in rates.items():
            if player not in self.by_player:
                raise unknown_name("player", player, self.by_player)
            if player in self.scheduled:
                raise UserError(
                    f"The learning rate of {player} follows a schedule and cannot be set. Make the "
                    "model with schedule='constant', or compile it with optimizers whose rates "
                    "are numbers."
                )
            self[player].learning_rate = rate

    @property
    def scheduled(self) -> list[str]:
        """Names of the players whose learning rates follow a schedule."""
        schedule = keras.optimizers.schedules.LearningRateSchedule
        return [
            player
            for player, optimizer in self.by_player.items()
            if isinstance(optimizer._learning_rate, schedule)
        ]

    @property
    def variables(self) -> list:
        return [variable for optimizer in self.optimizers for variable in optimizer.variables]

    def build_players(self, players: Sequence[Player]) -> None:
        """Create all optimizers' variables, which must exist before the first step."""
        for player in players:
            self[player.name].build(player.variables)
        self.built = True

    def finalize_variable_values(self, variables):
        for optimizer in self.optimizers:
            optimizer.finalize_variable_values(optimizer._trainable_variables)

    # Keras visits the optimizers in the dict and saves them by itself; saving `variables` as well
    # would store every moment twice.
    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass

    def get_config(self):
        return {
            "name": self.name,
            "optimizers": {
                player: keras.optimizers.serialize(optimizer)
                for player, optimizer in self.by_player.items()
            },
        }
