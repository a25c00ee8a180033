"""Ranking of a pair list from vote counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from sweetspot._ballot import Ballot, read_ballot, require_finite_maximum
from sweetspot._checks import (
    FloatArray,
    as_floats,
    as_scalar,
    reject_where,
    require_choice,
    require_shape,
)
from sweetspot._graph import comparison_graph
from sweetspot._lad import fit_lad
from sweetspot._newton import Minimum, Point, minimise
from sweetspot._pair_ranking import PairRanking
from sweetspot._selection import median
from sweetspot._vote_models import (
    MixtureObjective,
    VoteObjective,
    expected_flip_share,
    pair_flip_posterior,
)
from sweetspot.errors import ContractError, ConvergenceError

KINDS = ("pair", "vote")

_FEW_VOTES = 3
_LOW_RATE, _HIGH_RATE = 1e-4, 0.49
_START_RATES = (0.1, 0.4)
_ROBUST_START_RATE = 0.25
_MAX_MOVE = 3.0
_RUNAWAY_MARGIN = 15.0


@dataclass(frozen=True, kw_only=True)
class BradleyTerryResult(PairRanking):
    """Ranking by (noise-aware) Bradley-Terry.

    Attributes:
        log_likelihood: Of all votes, without the ridge.
        gradient_norm: Largest |gradient| of the objective at the scores.
        flip_probability: Expected share of swapped votes of each row (E,); eps for a row without votes.
    """

    log_likelihood: float
    gradient_norm: float
    flip_probability: FloatArray


@dataclass(frozen=True, kw_only=True)
class FlipMixtureResult(PairRanking):
    """Ranking with an estimated flip rate.

    Attributes:
        flip_probability: Per row (E,): posterior that its pair was swapped (`pair`), expected share of
            swapped votes (`vote`); the flip rate for a row without votes.
        log_likelihood: Of all votes, without ridge and prior.
        gradient_norm: Largest |gradient| over scores and flip rate.
    """

    flip_probability: FloatArray
    log_likelihood: float
    gradient_norm: float


def bradley_terry(
    i: ArrayLike,
    j: ArrayLike,
    wins_i: ArrayLike,
    wins_j: ArrayLike,
    *,
    n_items: int,
    ridge: float = 0.01,
    flip_rate: float = 0.0,
) -> BradleyTerryResult:
    """Rank items from votes by Bradley-Terry with a known rate of swapped votes.

    Minimises  -sum_e [wins_i log q(d) + wins_j log q(-d)] + ridge / 2 * sum s^2,  d = s_i - s_j,
    q(d) = (1 - eps) sigma(d) + eps sigma(-d).

    Args:
        i: Item of each row (E,), 0 to n_items - 1.
        j: The item it is compared with (E,), never the same.
        wins_i: Votes for i (E,), >= 0; a tie is half a vote each. A row without votes is no comparison.
        wins_j: Votes for j (E,), >= 0.
        n_items: Number of items n, >= 1.
        ridge: Weight of the squared scores, >= 0. Larger shrinks more. 0 needs every component
            strongly connected under "beats at least once".
        flip_rate: eps, the known probability that a vote was swapped, in [0, 0.5).

    Returns:
        BradleyTerryResult; `corrupted` is `flip_probability > 0.5`, `flip_rate` the one given. Warning
        codes: `disconnected`, `unverifiable`, `few_items`.

    Raises:
        ContractError: an argument is out of range, or ridge = 0 and the maximum is at infinity.
        ConvergenceError: the gradient stays above 1e-6 * max(1, votes).

    References:
        Bradley, Terry (1952), Rank analysis of incomplete block designs.
        Ford (1957), Solution of a ranking problem from binary comparisons, for the connectivity rule.
    """
    ballot = read_ballot(i, j, wins_i, wins_j, n_items)
    penalty = as_scalar("ridge", ridge, low=0.0)
    epsilon = as_scalar("flip_rate", flip_rate, low=0.0, high=0.5)
    if penalty == 0:
        require_finite_maximum(ballot)
    found = _fit_scores(ballot, penalty, epsilon)
    scores = ballot.graph.centred(found.x)
    objective = VoteObjective(ballot.votes, penalty, epsilon, scores)
    norm = float(np.abs(objective.gradient).max())
    _require_stationary(norm, 1e-6 * max(1.0, ballot.total), found.iterations)
    flips = expected_flip_share(ballot.pairs.difference(scores), ballot.wins_i, ballot.wins_j, epsilon)
    return BradleyTerryResult(
        scores=scores,
        component=ballot.graph.component,
        unverifiable=ballot.graph.unverifiable,
        corrupted=flips > 0.5,
        flip_rate=epsilon,
        iterations=found.iterations,
        warnings=ballot.graph.warnings(),
        log_likelihood=float(objective.likelihood.value.sum()),
        gradient_norm=norm,
        flip_probability=flips,
    )


def flip_mixture(
    i: ArrayLike,
    j: ArrayLike,
    wins_i: ArrayLike,
    wins_j: ArrayLike,
    *,
    n_items: int,
    kind: str = "pair",
    ridge: float = 0.01,
    flip_prior: tuple[float, float] = (1.0, 1.0),
) -> FlipMixtureResult:
    """Rank items from votes and estimate how often they were swapped.

    Maximises  ell - ridge / 2 * sum s^2 + log Beta(2 eps; flip_prior)  over scores and eps in (0, 1/2), with
    pair:  ell = sum log[(1 - eps) sigma(d)^a sigma(-d)^b + eps sigma(-d)^a sigma(d)^b],  a, b votes of a pair;
    vote:  ell = sum a log q(d) + b log q(-d),  q(d) = (1 - eps) sigma(d) + eps sigma(-d).

    Args:
        i: Item of each row (E,), 0 to n_items - 1.
        j: The item it is compared with (E,), never the same.
        wins_i: Votes for i (E,), >= 0. Rows of the same two items are added up.
        wins_j: Votes for j (E,), >= 0.
        n_items: Number of items n, >= 1.
        kind: `pair` if chosen and rejected were exchanged for whole pairs, `vote` if single raters slip.
        ridge: Weight of the squared scores, >= 0; as in `bradley_terry`.
        flip_prior: Beta parameters (>= 1 each) of 2 eps. (1, 1) is flat; with fewer than three votes
            per pair eps and the scale of the scores cannot be told apart without a prior.

    Returns:
        FlipMixtureResult; `flip_rate` is the estimate of eps, `corrupted` is `flip_probability > 0.5`.
        Warning codes: `disconnected`, `unverifiable`, `few_items`, `few_votes`, `at_boundary`.

    Raises:
        ContractError: an argument is out of range, there are no votes, or ridge = 0 and the maximum
            is at infinity.
        ConvergenceError: no stationary point (gradient <= 1e-3) was reached.

    Notes:
        eps = sigma(t) / 2 is fitted in t. The objective has several minima when there are few items, so
        three starts are tried and the best wins: the Bradley-Terry scores with eps 0.1 and 0.4, and the
        least absolute deviations of the smoothed log-odds, which swaps move least, with 0.25.
    """
    ballot = read_ballot(i, j, wins_i, wins_j, n_items)
    require_choice("kind", kind, KINDS)
    penalty, prior = as_scalar("ridge", ridge, low=0.0), _checked_prior(flip_prior)
    if ballot.total == 0:
        raise ContractError(
            f"wins_i, wins_j: all {len(ballot.pairs)} rows have 0 votes, expected at least one vote. Check the counts."
        )
    if penalty == 0:
        require_finite_maximum(ballot)
    return _mixture_result(ballot, penalty, prior, kind)


def _mixture_result(ballot: Ballot, penalty: float, prior: tuple[float, float], kind: str) -> FlipMixtureResult:
    """Fit the mixture, centre its scores, and describe that point."""
    found = _fit_mixture(ballot, penalty, prior, kind)
    x = np.append(ballot.graph.centred(found.x[:-1]), found.x[-1])
    objective = MixtureObjective(ballot.votes, penalty, prior, kind, x)
    norm = float(np.abs(objective.gradient).max())
    _require_stationary(norm, 1e-3, found.iterations)
    flips = _flip_probability(ballot, x[:-1], objective.epsilon, kind)
    return FlipMixtureResult(
        scores=x[:-1],
        component=ballot.graph.component,
        unverifiable=ballot.graph.unverifiable,
        corrupted=flips > 0.5,
        flip_rate=objective.epsilon,
        iterations=found.iterations,
        warnings=ballot.graph.warnings() + _mixture_warnings(ballot, objective.epsilon),
        flip_probability=flips,
        log_likelihood=float(objective.likelihood.value.sum()),
        gradient_norm=norm,
    )


def _checked_prior(flip_prior: tuple[float, float]) -> tuple[float, float]:
    prior = as_floats("flip_prior", flip_prior)
    require_shape("flip_prior", prior, (2,))
    remedy = "Below 1 the density has no maximum inside (0, 1/2)."
    reject_where("flip_prior", prior < 1, prior, rule=">= 1", remedy=remedy)
    return float(prior[0]), float(prior[1])


def _fit_scores(ballot: Ballot, ridge: float, epsilon: float) -> Minimum:
    """Scores of the minimum; for eps > 0 from the plain Bradley-Terry scores."""
    target = 1e-9 * max(1.0, ballot.total)
    found = Minimum(np.zeros(ballot.pairs.n_items), 0.0, 0)
    for rate in (0.0, epsilon) if epsilon > 0 else (0.0,):
        before = found.iterations
        found = minimise(
            lambda s, rate=rate: VoteObjective(ballot.votes, ridge, rate, s).point(),
            found.x,
            tolerance=target,
            max_move=_MAX_MOVE,
        )
        found = Minimum(found.x, found.gradient_norm, before + found.iterations)
    runaway = np.abs(ballot.votes.pairs.difference(found.x)) > _RUNAWAY_MARGIN
    if ridge == 0 and epsilon > 0 and runaway.any():
        raise ContractError(
            f"ridge: got 0, but with flip_rate = {epsilon:g} the votes of item "
            f"{int(ballot.votes.pairs.first[np.argmax(runaway)])} are more one-sided than flips allow, so the scores "
            "have no finite maximum. Pass ridge > 0, for example 0.01."
        )
    return found


def _fit_mixture(ballot: Ballot, ridge: float, prior: tuple[float, float], kind: str) -> Minimum:
    """The best of the minima reached from the starts; iterations are those of all of them."""
    plain = _fit_scores(ballot, ridge, 0.0)
    votes = ballot.votes
    margin = logit((votes.first + 0.5) / (votes.total + 1.0))
    robust, steps = fit_lad(votes.pairs, comparison_graph(votes.pairs), margin, np.ones(margin.size))
    starts = [(plain.x, rate) for rate in _START_RATES] + [(robust, _ROBUST_START_RATE)]
    target = max(1e-7, 1e-14 * ballot.total)

    def at(x: FloatArray) -> Point:
        return MixtureObjective(votes, ridge, prior, kind, x).point()

    tried = [
        minimise(at, np.append(scores, logit(2 * rate)), tolerance=target, max_move=_MAX_MOVE)
        for scores, rate in starts
    ]
    best = min(tried, key=lambda found: at(found.x).value)
    steps += plain.iterations + sum(found.iterations for found in tried)
    return Minimum(best.x, best.gradient_norm, steps)


def _require_stationary(norm: float, limit: float, steps: int) -> None:
    if norm > limit:
        raise ConvergenceError(
            f"scores: largest gradient {norm:.3g} after {steps} steps, expected at most {limit:.3g}. Raise ridge, or "
            "look for votes of very different size."
        )


def _flip_probability(ballot: Ballot, scores: FloatArray, epsilon: float, kind: str) -> FloatArray:
    """Per row: posterior of its pair (`pair`) or expected share of its votes (`vote`)."""
    if kind == "vote":
        return expected_flip_share(ballot.pairs.difference(scores), ballot.wins_i, ballot.wins_j, epsilon)
    votes = ballot.votes
    posterior = pair_flip_posterior(votes.pairs.difference(scores), votes.first, votes.second, epsilon)
    flips = np.full(len(ballot.pairs), epsilon)
    flips[ballot.wins_i + ballot.wins_j > 0] = posterior[ballot.graph.edge]
    return flips


def _mixture_warnings(ballot: Ballot, epsilon: float) -> tuple[str, ...]:
    found = []
    typical = median(ballot.votes.total)
    if typical < _FEW_VOTES:
        found.append(
            f"few_votes: median {typical:g} votes per pair, so the flip rate and the scale of the scores cannot be "
            "told apart; the ranking stands, use flip_prior for the rest"
        )
    if not _LOW_RATE <= epsilon <= _HIGH_RATE:
        found.append(f"at_boundary: flip rate {epsilon:.3g} is at the edge of (0, 0.5)")
    return tuple(found)
