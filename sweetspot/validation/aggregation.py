"""One label per item from several raters: majority vote, and the Dawid-Skene model of rater errors.

Code labels by item identity ("A wins", with A before B by id), never by position on the screen: the confusion
matrices then describe opinions, and position bias shows up as noise instead of as a class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from sweetspot.errors import ContractError
from sweetspot.validation import _dawid_skene
from sweetspot.validation._arguments import float_array, whole_number
from sweetspot.validation._votes import Votes, read_votes

FEW_RATERS = 3
FEW_LABELS = 20
CROWD_LABELS = 100.0
"""Labels of a typical rater that stand beside each rater's own in `fit_like_the_crowd`."""
_EQUAL = 1e-9


@dataclass(frozen=True)
class Aggregation:
    """Majority votes; see `majority`."""

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    tie: NDArray[np.bool_]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class DawidSkene:
    """Labels and rater error rates; see `dawid_skene`."""

    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    confusion: NDArray[np.float64]
    class_prior: NDArray[np.float64]
    iterations: int
    warnings: tuple[str, ...]


def majority(labels: ArrayLike, *, n_classes: int | None = None) -> Aggregation:
    """Return the commonest label of each item.

    Args:
        labels: Class codes 0..q-1, shape (items, raters), NaN where a rater gave none.
        n_classes: q >= 1; None means the largest code + 1, and at least 2.

    Returns:
        Aggregation: `label (items,)`, -1 for a tie or without labels; `probability (items, q)` vote shares, uniform
        without labels; `tie (items,)` whether two classes share the most votes. Warning code `unlabelled_items`.

    Raises:
        ContractError: A code is negative, not whole, or not below `n_classes`.
    """
    votes = read_votes(labels, n_classes)
    tie = votes.tied
    label = np.where(votes.labelled & ~tie, votes.counts.argmax(axis=1), -1).astype(np.int64)
    missing = int(np.sum(~votes.labelled))
    message = f"unlabelled_items: {missing} of {label.size} items have no label"
    return Aggregation(label, votes.shares(), tie, (message,) if missing else ())


def dawid_skene(
    labels: ArrayLike, *, n_classes: int | None = None, max_iter: int = 200, tol: float = 1e-6
) -> DawidSkene:
    """Estimate the true labels together with each rater's confusion matrix.

    EM from the vote shares. With T the class probabilities of the items and c_r the confusion matrix of rater r:

        c_r[k, l] = (sum over items labelled l by r of T[item, k] + [k = l]) / (row total)
        prior_k   = mean over labelled items of T[item, k]
        T[item, k] ~ prior_k * prod over raters r of c_r[k, label of r]

    Args:
        labels: Class codes 0..q-1, shape (items, raters), NaN where a rater gave none.
        n_classes: q >= 1; None means the largest code + 1, and at least 2.
        max_iter: Upper bound on EM iterations, >= 1.
        tol: Stop when no class probability of an item moves by more than this; > 0.

    Returns:
        DawidSkene: `label (items,)`, -1 without labels or when the two largest probabilities are equal;
        `probability (items, q)`, the class prior for unlabelled items; `confusion (raters, q, q)` [true, given];
        `class_prior (q,)`; `iterations`. Warning codes: `few_raters` (fewer than 3 raters gave labels: the model is
        not identifiable), `few_labels` (some rater gave fewer than 20), `anchored` (the solution named the classes the
        other way round than the majority and was turned).

    Raises:
        ContractError: No label at all, or a code is negative, not whole, or not below `n_classes`.
        ConvergenceError: Still moving after `max_iter` iterations; raise it, or loosen `tol`.

    References:
        Dawid, Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm,
        Applied Statistics 28(1).

    Notes:
        Unlike the paper, every diagonal entry gets a pseudo-count of 1 (for two classes a Beta(2, 1) prior on each
        rate), so a rater with few labels is neither perfect nor perfectly wrong. The model trusts raters who agree with
        each other: where most raters share a mistake, it is more confident in it than the majority is.
    """
    return fit_votes(read_votes(labels, n_classes), max_iter=max_iter, tol=tol)


def fit_votes(votes: Votes, *, max_iter: int = 200, tol: float = 1e-6) -> DawidSkene:
    """`dawid_skene` of votes that are counted already: no (items, raters) table is made, so large crowds fit."""
    return _fitted(votes, max_iter, tol, None)


def fit_like_the_crowd(
    votes: Votes, *, crowd_labels: float = CROWD_LABELS, max_iter: int = 200, tol: float = 1e-6
) -> DawidSkene:
    """Dawid-Skene for weak crowds: a rater departs from the typical one only as far as its own labels bear it out.

    Where raters are hardly better than a coin or gave few labels each, `dawid_skene` reads luck as skill and is worse
    than the majority. Here a rater has one accuracy for all classes, and no class is commoner than another: the same
    fit as to all items together with their copies under every renaming of the classes. The votes are first taken for
    those of one typical rater, whose accuracy a comes out; then

        a_r = (sum over items of T[item, label of r] + crowd_labels a) / (labels of r + crowd_labels)

    A rater with as many labels as `crowd_labels` counts half by its own and half by the crowd's. With `crowd_labels`
    towards infinity all votes weigh the same, which is the majority.

    Args:
        votes: counted votes.
        crowd_labels: > 0.
        max_iter: upper bound on EM iterations of each of the two fits, >= 1.
        tol: as in `dawid_skene`.

    Returns:
        As `dawid_skene`, with uniform `class_prior`; `iterations` are those of the second fit.

    Raises:
        ContractError: no label at all; `crowd_labels` or `tol` is not > 0.
        ConvergenceError: a fit still moves after `max_iter` iterations.

    References:
        Dawid, Skene (1979), Applied Statistics 28(1); with one accuracy per rater the one-coin model of Zhang, Chen,
        Zhou, Jordan (2016), Spectral methods meet EM, Journal of Machine Learning Research 17(102).

    Notes:
        Unlike the papers, accuracies are drawn towards the crowd's (a Beta prior with that mean). On planted crowds
        `crowd_labels` from 100 to 300 never did worse than the majority; 30 was too few for raters right in 60 %.
    """
    if not (float_array(crowd_labels, "crowd_labels", ndim=0) > 0):
        raise ContractError(f"crowd_labels: got {crowd_labels}, expected a number > 0.")
    q = votes.counts.shape[1]
    typical = _fitted(votes.of_one_rater(), max_iter, tol, _dawid_skene.Beforehand(np.eye(q), mirrored=True))
    pseudo = crowd_labels / q * typical.confusion[0]
    return _fitted(votes, max_iter, tol, _dawid_skene.Beforehand(pseudo, mirrored=True))


def _fitted(votes: Votes, max_iter: int, tol: float, held: _dawid_skene.Beforehand | None) -> DawidSkene:
    max_iter = whole_number(max_iter, "max_iter", at_least=1)
    if isinstance(tol, bool | np.bool_) or float_array(tol, "tol", ndim=0) <= 0:
        raise ContractError(f"tol: got {tol}, expected a number > 0.")
    if not votes.labelled.any():
        raise ContractError(f"labels: none of the {votes.counts.shape[0]} items has a label; expected at least one.")
    model, probability, iterations = _dawid_skene.fit(votes, max_iter, float(tol), held)
    names = _names_of_the_majority(probability, votes)
    probability = probability[:, names]
    return DawidSkene(
        label=_decided(probability, votes.labelled),
        probability=probability,
        confusion=model.confusion[:, names],
        class_prior=model.prior[names],
        iterations=iterations,
        warnings=_warnings(votes, turned=bool((names != np.arange(names.size)).any())),
    )


def _names_of_the_majority(probability: NDArray[np.float64], votes: Votes) -> NDArray[np.int64]:
    """Fitted class that each class code stands for, (q,): the renaming that agrees best with the majority.

    The likelihood is the same under every renaming of the classes, so only agreement with the votes can choose.
    """
    q = probability.shape[1]
    decided = votes.labelled & ~votes.tied
    winner = np.eye(q)[votes.counts[decided].argmax(axis=1)]
    agreement = winner.T @ probability[decided]  # [majority class, fitted class]
    _, names = linear_sum_assignment(agreement, maximize=True)
    gain = agreement[np.arange(q), names].sum() - np.trace(agreement)
    return names.astype(np.int64) if gain > _EQUAL * max(1, decided.sum()) else np.arange(q)


def _decided(probability: NDArray[np.float64], labelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Most probable class, -1 for unlabelled items and where the two largest probabilities are equal."""
    label = probability.argmax(axis=1)
    if probability.shape[1] > 1:
        second, first = np.sort(probability, axis=1)[:, -2:].T
        label = np.where(first - second <= _EQUAL, -1, label)
    return np.where(labelled, label, -1).astype(np.int64)


def _warnings(votes: Votes, *, turned: bool) -> tuple[str, ...]:
    found: list[str] = []
    raters, few = int(np.sum(votes.per_rater > 0)), int(np.sum(votes.per_rater < FEW_LABELS))
    if raters < FEW_RATERS:
        found.append(f"few_raters: {raters} raters gave labels; with fewer than 3 errors cannot be told from truth")
    if few:
        found.append(f"few_labels: {few} of {votes.per_rater.size} raters gave fewer than {FEW_LABELS} labels")
    if turned:
        found.append("anchored: the classes were named the other way round than by the majority and were turned")
    return tuple(found)
