"""Fixed point of the Dawid-Skene EM map, reached by plain steps first and extrapolated ones later.

Plain EM needs thousands of steps on sparse crowds. Squared extrapolation (Varadhan, Roland 2008, Simple and globally
convergent methods for accelerating the convergence of any EM algorithm, Scandinavian Journal of Statistics 35) reaches
the same fixed points about ten times sooner; the first steps stay plain, so that the start decides which one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.errors import ConvergenceError
from sweetspot.validation._votes import Votes

PLAIN_STEPS = 20
_LOG_FLOOR = 1e-300
_EXTRAPOLATION_FLOOR = 1e-12


@dataclass(frozen=True)
class Beforehand:
    """What is held of all raters before their labels are read.

    Attributes:
        pseudo: (q, q) labels [true, given] that every rater is taken to have given already.
        mirrored: every item is also taken in with its classes renamed in every other way, so that no model can learn
            that one class is commoner, or easier, than another: one accuracy per rater remains.
    """

    pseudo: NDArray[np.float64]
    mirrored: bool = False

    def shared_among_names(self, model: "Model") -> "Model":
        """The mean of a model over all renamings of the classes; the model itself if they are not mirrored."""
        if not self.mirrored:
            return model
        q = model.prior.size
        right = np.einsum("rkk->r", model.confusion) / q
        wrong = (model.confusion.sum(axis=(1, 2)) - q * right) / max(1, q * (q - 1))
        confusion = np.where(np.eye(q, dtype=np.bool_), right[:, None, None], wrong[:, None, None])
        return Model(confusion, np.full(q, 1.0 / q))


@dataclass(frozen=True)
class Model:
    """Parameters: what raters do with each class, and how common the classes are."""

    confusion: NDArray[np.float64]  # (raters, q, q) [true, given]
    prior: NDArray[np.float64]  # (q,)

    def flat(self) -> NDArray[np.float64]:
        """All parameters as one vector."""
        return np.concatenate([self.confusion.ravel(), self.prior])

    def at(self, parameters: NDArray[np.float64]) -> "Model":
        """The model of this shape at `parameters`, put back among the probabilities."""
        inside = np.maximum(parameters, _EXTRAPOLATION_FLOOR)
        confusion, prior = inside[: self.confusion.size].reshape(self.confusion.shape), inside[self.confusion.size :]
        return Model(confusion / confusion.sum(axis=2, keepdims=True), prior / prior.sum())


def maximise(truth: NDArray[np.float64], votes: Votes, held: Beforehand | None = None) -> Model:
    """The most probable model given the class probabilities of the items, (items, q)."""
    q = truth.shape[1]
    held = held or Beforehand(np.eye(q))
    counted = (votes.given.T @ truth).reshape(-1, q, q).transpose(0, 2, 1)
    both = held.shared_among_names(Model(counted + held.pseudo, truth[votes.labelled].mean(axis=0)))
    return Model(both.confusion / both.confusion.sum(axis=2, keepdims=True), both.prior / both.prior.sum())


def _log_joint(model: Model, votes: Votes) -> NDArray[np.float64]:
    """Log probability of each item's labels and each class, (items, q)."""
    q = model.prior.size
    # The floor stands for zero: it keeps "impossible" finite, so that two impossibilities can be compared.
    evidence = np.log(np.maximum(model.confusion, _LOG_FLOOR)).transpose(0, 2, 1).reshape(-1, q)
    return votes.given @ evidence + np.log(np.maximum(model.prior, _LOG_FLOOR))


def expect(model: Model, votes: Votes) -> NDArray[np.float64]:
    """Class probabilities of the items, (items, q); the prior where there is no label."""
    joint = _log_joint(model, votes)
    truth = np.exp(joint - joint.max(axis=1, keepdims=True))
    truth /= truth.sum(axis=1, keepdims=True)
    truth[~votes.labelled] = model.prior
    return truth


def log_posterior(model: Model, votes: Votes, held: Beforehand | None = None) -> float:
    """Log likelihood of the labels plus the log prior sum_r sum_kl pseudo[k, l] log c_r[k, l], which EM only raises."""
    held = held or Beforehand(np.eye(model.prior.size))
    joint = _log_joint(model, votes)[votes.labelled]
    top = joint.max(axis=1)
    likelihood = np.sum(top + np.log(np.exp(joint - top[:, None]).sum(axis=1)))
    believed = held.pseudo > 0
    return float(likelihood + np.sum(held.pseudo[believed] * np.log(model.confusion[:, believed])))


def fit(
    votes: Votes, max_iter: int, tol: float, held: Beforehand | None = None
) -> tuple[Model, NDArray[np.float64], int]:
    """Iterate from the vote shares until an EM step moves no class probability by more than `tol`.

    Returns:
        The model, the class probabilities it gives, (items, q), and the iterations.
    """
    truth = votes.shares()
    change = np.inf
    for iteration in range(1, max_iter + 1):
        model = maximise(truth, votes, held)
        moved = expect(model, votes)
        change = float(np.abs(moved - truth).max())
        if change <= tol:
            return model, moved, iteration
        truth = moved if iteration <= PLAIN_STEPS else expect(_extrapolated(model, moved, votes, held), votes)
    raise ConvergenceError(
        f"dawid_skene: class probabilities still move by {change:.3g} after {max_iter} iterations, "
        f"expected <= {tol:g}; raise max_iter or loosen tol."
    )


def _extrapolated(start: Model, moved: NDArray[np.float64], votes: Votes, held: Beforehand | None) -> Model:
    """Two EM steps from `start` and a squared leap in their direction, shortened or dropped if it climbs less."""
    one = maximise(moved, votes, held)
    two = maximise(expect(one, votes), votes, held)
    origin = start.flat()
    first = one.flat() - origin
    bend = two.flat() - one.flat() - first
    length = max(1.0, float(np.linalg.norm(first)) / max(float(np.linalg.norm(bend)), _LOG_FLOOR))
    reached = log_posterior(two, votes, held)
    for leap in (length, (length + 1.0) / 2.0, math.sqrt(length)):
        candidate = start.at(origin + 2.0 * leap * first + leap * leap * bend)
        if log_posterior(candidate, votes, held) >= reached:
            return candidate
    return two
