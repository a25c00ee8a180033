"""Likelihoods of vote counts: Bradley-Terry, with single votes or whole pairs swapped now and then.

For one pair with a votes for the first item and b for the second, d = s_first - s_second,
u = sigma(d), v = sigma(-d), lambda = log(eps / (1 - eps)):

    vote  ell = a log[(1-eps) u + eps v] + b log[(1-eps) v + eps u]
    pair  ell = log[(1-eps) u^a v^b + eps v^a u^b]

Each latent swap has posterior log-odds  lambda - k d  with k = 1 and -1 (vote for first, for second) or
k = a - b (pair), from which all derivatives follow; nothing is exponentiated before it is bounded.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import betaln, expit, log_expit

from sweetspot._checks import FloatArray
from sweetspot._graph import ComparisonGraph, Pairs
from sweetspot._newton import Point


@dataclass(frozen=True)
class Votes:
    """Votes per distinct pair of a comparison graph: `first` for its low item, `second` for its high one."""

    pairs: Pairs
    first: FloatArray
    second: FloatArray

    @property
    def total(self) -> FloatArray:
        """Votes per pair (P,)."""
        return self.first + self.second


def votes_per_pair(pairs: Pairs, graph: ComparisonGraph, wins_i: FloatArray, wins_j: FloatArray) -> Votes:
    """Add up the rows of each unordered pair."""
    forward = pairs.first < pairs.second
    low = graph.per_edge(np.where(forward, wins_i, wins_j))
    high = graph.per_edge(np.where(forward, wins_j, wins_i))
    return Votes(graph.edges, low, high)


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood of each pair and its derivatives in d and lambda, all (P,)."""

    value: FloatArray
    slope: FloatArray
    bend: FloatArray
    flip_slope: FloatArray
    flip_bend: FloatArray
    cross: FloatArray


def log_odds(epsilon: float) -> float:
    """Lambda = log(eps / (1 - eps)), -inf for eps = 0."""
    return float(np.log(epsilon) - np.log1p(-epsilon)) if epsilon > 0 else -np.inf


def vote_flip_posterior(d: FloatArray, epsilon: float) -> FloatArray:
    """P(swapped | a vote for the first item) = sigma(lambda - d)."""
    return expit(log_odds(epsilon) - d)


def pair_flip_posterior(d: FloatArray, a: FloatArray, b: FloatArray, epsilon: float) -> FloatArray:
    """P(pair swapped | its votes) = sigma(lambda - (a - b) d)."""
    return expit(log_odds(epsilon) - (a - b) * d)


def expected_flip_share(d: FloatArray, a: FloatArray, b: FloatArray, epsilon: float) -> FloatArray:
    """Expected share of swapped votes given d; eps where there are no votes."""
    flipped = a * vote_flip_posterior(d, epsilon) + b * vote_flip_posterior(-d, epsilon)
    return np.where(a + b > 0, flipped / np.where(a + b > 0, a + b, 1.0), epsilon)


def vote_likelihood(d: FloatArray, a: FloatArray, b: FloatArray, epsilon: float) -> Likelihood:
    """Each vote is swapped with probability eps; eps = 0 is plain Bradley-Terry."""
    u, v = expit(d), expit(-d)
    flipped_a, flipped_b = vote_flip_posterior(d, epsilon), vote_flip_posterior(-d, epsilon)
    spread_a, spread_b = flipped_a * (1 - flipped_a), flipped_b * (1 - flipped_b)
    keep, swap = np.log1p(-epsilon), log_odds(epsilon) + np.log1p(-epsilon)
    log_first = np.logaddexp(keep + log_expit(d), swap + log_expit(-d))
    log_second = np.logaddexp(keep + log_expit(-d), swap + log_expit(d))
    return Likelihood(
        value=a * log_first + b * log_second,
        slope=a * (v - flipped_a) - b * (u - flipped_b),
        bend=a * spread_a + b * spread_b - (a + b) * u * v,
        flip_slope=a * (flipped_a - epsilon) + b * (flipped_b - epsilon),
        flip_bend=a * spread_a + b * spread_b - (a + b) * epsilon * (1 - epsilon),
        cross=b * spread_b - a * spread_a,
    )


def pair_likelihood(d: FloatArray, a: FloatArray, b: FloatArray, epsilon: float) -> Likelihood:
    """All votes of a pair are swapped together with probability eps."""
    u, v = expit(d), expit(-d)
    flipped = pair_flip_posterior(d, a, b, epsilon)
    spread = flipped * (1 - flipped)
    straight = np.log1p(-epsilon) + a * log_expit(d) + b * log_expit(-d)
    swapped = log_odds(epsilon) + np.log1p(-epsilon) + a * log_expit(-d) + b * log_expit(d)
    return Likelihood(
        value=np.logaddexp(straight, swapped),
        slope=a * v - b * u - flipped * (a - b),
        bend=(a - b) ** 2 * spread - (a + b) * u * v,
        flip_slope=flipped - epsilon,
        flip_bend=spread - epsilon * (1 - epsilon),
        cross=-(a - b) * spread,
    )


@dataclass(frozen=True)
class VoteObjective:
    """-log-likelihood + ridge / 2 * |s|^2 at scores s, for a known flip rate."""

    votes: Votes
    ridge: float
    epsilon: float
    scores: FloatArray

    def point(self) -> Point:
        """Everything the minimiser asks for."""
        return Point(self.value, self.gradient, self.diagonal, self.curvature_times)

    @cached_property
    def likelihood(self) -> Likelihood:
        """Per pair, at these scores."""
        d = self.votes.pairs.difference(self.scores)
        return vote_likelihood(d, self.votes.first, self.votes.second, self.epsilon)

    @property
    def value(self) -> float:
        """Objective."""
        return 0.5 * self.ridge * float(self.scores @ self.scores) - float(self.likelihood.value.sum())

    @cached_property
    def gradient(self) -> FloatArray:
        """Gradient in s (n,)."""
        return self.ridge * self.scores - self.votes.pairs.divergence(self.likelihood.slope)

    @cached_property
    def diagonal(self) -> FloatArray:
        """Size of the curvature of each score (n,), > 0."""
        return score_curvature(self.votes, self.likelihood, self.ridge)

    def curvature_times(self, direction: FloatArray) -> FloatArray:
        """Hessian times direction."""
        pairs = self.votes.pairs
        return self.ridge * direction - pairs.divergence(self.likelihood.bend * pairs.difference(direction))


@dataclass(frozen=True)
class MixtureObjective:
    """-log-likelihood + ridge / 2 * |s|^2 - log Beta(2 eps) at x = (s, t), 2 eps = sigma(t)."""

    votes: Votes
    ridge: float
    prior: tuple[float, float]
    kind: str
    x: FloatArray

    @property
    def epsilon(self) -> float:
        """Flip rate in (0, 1/2)."""
        return 0.5 * float(expit(self.x[-1]))

    def point(self) -> Point:
        """Everything the minimiser asks for."""
        return Point(self.value, self.gradient, self.diagonal, self.curvature_times)

    @cached_property
    def likelihood(self) -> Likelihood:
        """Per pair, at these scores and this flip rate."""
        d = self.votes.pairs.difference(self.x[:-1])
        model = pair_likelihood if self.kind == "pair" else vote_likelihood
        return model(d, self.votes.first, self.votes.second, self.epsilon)

    @property
    def value(self) -> float:
        """Objective."""
        (alpha, beta), t = self.prior, float(self.x[-1])
        prior = (alpha - 1) * log_expit(t) + (beta - 1) * log_expit(-t) - betaln(alpha, beta)
        penalty = 0.5 * self.ridge * float(self.x[:-1] @ self.x[:-1])
        return penalty - float(self.likelihood.value.sum()) - float(prior)

    @property
    def rate(self) -> float:
        """D lambda / d t."""
        return (1 - 2 * self.epsilon) / (1 - self.epsilon)

    @cached_property
    def gradient(self) -> FloatArray:
        """Gradient in (s, t) (n + 1,)."""
        (alpha, beta), doubled = self.prior, 2 * self.epsilon
        in_scores = self.ridge * self.x[:-1] - self.votes.pairs.divergence(self.likelihood.slope)
        in_prior = (alpha - 1) * (1 - doubled) - (beta - 1) * doubled
        in_flip = -self.rate * float(self.likelihood.flip_slope.sum()) - in_prior
        return np.append(in_scores, in_flip)

    @cached_property
    def flip_curvature(self) -> float:
        """Second derivative in t."""
        eps, (alpha, beta) = self.epsilon, self.prior
        turn = -eps * (1 - 2 * eps) / (1 - eps) ** 2
        in_prior = (alpha + beta - 2) * 2 * eps * (1 - 2 * eps)
        ell = self.likelihood
        return in_prior - self.rate**2 * float(ell.flip_bend.sum()) - turn * float(ell.flip_slope.sum())

    @cached_property
    def diagonal(self) -> FloatArray:
        """Size of the curvature of each variable (n + 1,), > 0."""
        in_scores = score_curvature(self.votes, self.likelihood, self.ridge)
        return np.append(in_scores, max(abs(self.flip_curvature), 1e-8 * self.votes.first.size, 1e-12))

    def curvature_times(self, direction: FloatArray) -> FloatArray:
        """Hessian times direction."""
        pairs, ell, t = self.votes.pairs, self.likelihood, float(direction[-1])
        change = pairs.difference(direction[:-1])
        in_scores = self.ridge * direction[:-1] - pairs.divergence(ell.bend * change + self.rate * t * ell.cross)
        in_flip = self.flip_curvature * t - self.rate * float(ell.cross @ change)
        return np.append(in_scores, in_flip)


def score_curvature(votes: Votes, likelihood: Likelihood, ridge: float) -> FloatArray:
    """Sum of |second derivatives| of the pairs of each item plus the ridge (n,); 1 for an item without votes."""
    size = np.abs(likelihood.bend)
    total = votes.pairs.per_item(size, size) + ridge
    return np.where(total > 0, total, 1.0)
