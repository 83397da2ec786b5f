"""How alike a user's and an item's vector are: the inner product, sharpened by a temperature."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli.errors import SpecError

LOWEST, HIGHEST = 0.01, 10.0  # of a learned temperature


class Similarity(nn.Module):
    """Vectors and logits of a retrieval model: logit = inner product / temperature.

    The temperature never enters the vectors: an index of exported ones ranks as the model does. A learned one stays
    between 0.01 and 10, and has a gradient everywhere between them (CLIP clips its scale, and stops learning there:
    Radford et al., 2021, https://arxiv.org/abs/2103.00020).

    Args:
        normalize: vectors have length 1, so that the inner product is the cosine.
        temperature: of the logits; where it is learned, the first one.
        learn_temperature: the temperature is a parameter.

    Raises: SpecError for a temperature that is not above 0, or for a learned one outside 0.01..10.
    """

    def __init__(self, *, normalize: bool, temperature: float, learn_temperature: bool = False) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise SpecError(f"temperature: must be above 0, got {temperature}")
        self.normalize, self._fixed = normalize, float(temperature)
        self.position: nn.Parameter | None = None
        if learn_temperature:
            if not LOWEST < temperature < HIGHEST:
                raise SpecError(f"temperature: a learned one starts between {LOWEST} and {HIGHEST}, got {temperature}")
            share = math.log(temperature / LOWEST) / math.log(HIGHEST / LOWEST)
            self.position = nn.Parameter(torch.tensor(share).logit())

    @property
    def temperature(self) -> Tensor | float:
        """A number, or a tensor without dimensions where it is learned."""
        if self.position is None:
            return self._fixed
        return LOWEST * torch.exp(math.log(HIGHEST / LOWEST) * torch.sigmoid(self.position))

    def vectors(self, x: Tensor) -> Tensor:
        """(..., E) -> (..., E), float32 under autocast too; the zero vector stays zero."""
        return F.normalize(x.float(), dim=-1) if self.normalize else x.float()

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Vectors of B users, (B, E) or (B, K, E), and of their B items (B, E) -> logits (B, 1)."""
        with torch.autocast(users.device.type, enabled=False):
            if users.dim() == 3:
                scores = interest_scores(users, items).amax(dim=1, keepdim=True)
            else:
                scores = (users * items).sum(dim=1, keepdim=True)
            return scores / self.temperature


def interest_scores(users: Tensor, items: Tensor) -> Tensor:
    """Interests (B, K, E) and one item of each user (B, E) -> inner products (B, K).

    An interest of zeros is an absent one: its score is -inf. A user without any interest scores 0 everywhere.
    """
    with torch.autocast(users.device.type, enabled=False):
        scores = torch.bmm(users, items[:, :, None]).squeeze(2)
    present = users.detach().ne(0).any(dim=2)
    return scores.masked_fill(~present & present.any(dim=1, keepdim=True), -torch.inf)


def nearest_interest(users: Tensor, items: Tensor) -> Tensor:
    """The interest (B, E) of users (B, K, E) that an item (B, E) suits best: what serving takes the score of."""
    with torch.no_grad():
        best = interest_scores(users, items).argmax(dim=1)
    return users[torch.arange(len(users), device=users.device), best]
