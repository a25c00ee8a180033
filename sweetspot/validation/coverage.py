"""What a set of prompts covers: its topics, how evenly, what is rare, and how much of another set lies outside it."""

import warnings as python_warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import svds

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, fraction, same_length, text_list, whole_number
from sweetspot.validation._grams import Grams

FloatArray = NDArray[np.float64]
Vectors = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

TOPIC_DIMENSIONS = 50
MOST_NEIGHBOURS = 4000
"""Prompts whose nearest neighbour is looked for, to say what is usual; a sample of more."""
RARE_BELOW = 0.01
MOST_TOPICS = 40
FEW_PROMPTS = 20
_TOPIC_WORDS = 3
_BLOCK = 256
_STEPS, _STARTS = 25, 4


@dataclass(frozen=True)
class Coverage:
    """Topics of some prompts, and how another set of prompts lies in them; see `coverage`."""

    topic: IntArray
    sizes: IntArray
    words: tuple[str, ...]
    effective_topics: float
    rare: BoolArray
    nearest_distance: FloatArray
    threshold: float
    target_topic: IntArray
    target_distance: FloatArray
    outside: BoolArray
    warnings: tuple[str, ...]


def coverage(
    prompts: Sequence[str],
    target: Sequence[str] = (),
    *,
    vectors: ArrayLike | None = None,
    target_vectors: ArrayLike | None = None,
    topics: int | None = None,
    quantile: float = 0.95,
    seed: int = 0,
) -> Coverage:
    """Sort prompts into topics, and find the prompts of another set that are like none of them.

    A prompt is a vector of its words and word pairs: tf-idf weights, (1 + log count) * log((1 + n) / (1 + df)), of
    length one. Topics are k-means clusters of the prompts on the 50 leading singular vectors of the words. A target
    prompt is outside when its cosine distance to the nearest prompt is larger than that of all but 1 - `quantile` of
    the prompts to their own nearest neighbour.

    Args:
        prompts: n >= 20 texts, copies removed beforehand: each copy has a neighbour at distance 0.
        target: t texts that the prompts should cover, such as those of production; may be empty.
        vectors: (n, d) the caller's own embeddings of the prompts; None computes the above.
        target_vectors: (t, d) likewise of the target, needed with `vectors`.
        topics: number of clusters, >= 1; None takes sqrt(n / 2), at most 40.
        quantile: in (0, 1); of prompts like those of the data, 1 - `quantile` are expected to be outside.
        seed: >= 0, of the first cluster centres, and the sample of more than 4000 prompts.

    Returns:
        Coverage: `topic (n,)`, numbered by size, largest first; `sizes (k,)`; `words`, the three words that mark each
        topic ("" with `vectors`); `effective_topics`, exp of the entropy of the sizes, k if all are equal; `rare (k,)`,
        topics with less than 1 % of the prompts; `nearest_distance (min(n, 4000),)` of prompts to their nearest;
        `threshold`; `target_topic (t,)`; `target_distance (t,)`; `outside (t,)`. Warning code `no_words`: prompts
        without a word, all in one place.

    Raises:
        ContractError: fewer than 20 prompts, an entry is not text, vectors of other shapes, or an option out of range.

    Notes:
        Words show what a prompt is about, not what it asks for: a paraphrase in other words counts as outside. Pass
        embeddings of a language model as `vectors` to see meaning.
    """
    rows, others = text_list(prompts, "prompts"), text_list(target, "target")
    n = len(rows)
    k = _how_many(n, topics)
    quantile = fraction(quantile, "quantile", below=1.0)
    seed = whole_number(seed, "seed", at_least=0)
    if vectors is None:
        return _described(Grams.of(rows, others), None, n, k, quantile, seed)
    return _described(None, _given(vectors, target_vectors, n, len(others)), n, k, quantile, seed)


def topics_of(prompts: Sequence[str], *, topics: int | None = None, seed: int = 0) -> tuple[IntArray, tuple[str, ...]]:
    """The topics of `coverage` alone: n prompts to topic (n,), numbered by size, and the words that mark each topic.

    Args:
        prompts: n >= 20 texts.
        topics: number of clusters, >= 1; None takes sqrt(n / 2), at most 40.
        seed: >= 0, of the first cluster centres.

    Raises:
        ContractError: fewer than 20 prompts, an entry is not text, or an option out of range.
    """
    rows = text_list(prompts, "prompts")
    k = _how_many(len(rows), topics)
    seed = whole_number(seed, "seed", at_least=0)
    grams = Grams.of(rows, [])
    topic = _clusters(_latent(grams, seed), k, seed)
    return topic, _topic_words(grams, topic, int(topic.max()) + 1)


def _how_many(n: int, topics: int | None) -> int:
    """Clusters to look for among n prompts."""
    if n < FEW_PROMPTS:
        raise ContractError(f"prompts: got {n}, expected at least {FEW_PROMPTS}; fewer have no topics.")
    if topics is None:
        return min(MOST_TOPICS, max(1, round((n / 2) ** 0.5)))
    return min(n, whole_number(topics, "topics", at_least=1))


def _described(grams: Grams | None, vectors: Vectors | None, n: int, k: int, quantile: float, seed: int) -> Coverage:
    """Topics and distances of n prompts and the target after them, by their words or by given vectors."""
    exact: Any = vectors if grams is None else grams.weights
    places = exact if grams is None else _latent(grams, seed)
    topic = _clusters(places[:n], k, seed)
    sizes = np.bincount(topic)
    sample = np.sort(np.random.default_rng(seed).permutation(n)[:MOST_NEIGHBOURS])
    strangers = exact[sample] if grams is None else grams.as_strangers(sample)
    nearest = _nearest_distance(strangers, exact[:n], own=sample)
    threshold = float(np.quantile(nearest, quantile))
    distance = _nearest_distance(exact[n:], exact[:n])
    shares = sizes / n
    return Coverage(
        topic=topic,
        sizes=sizes,
        words=("",) * sizes.size if grams is None else _topic_words(grams, topic, sizes.size),
        effective_topics=float(np.exp(-np.sum(shares * np.log(shares)))),
        rare=shares < RARE_BELOW,
        nearest_distance=nearest,
        threshold=threshold,
        target_topic=_closest_centre(places[n:], _centres(places[:n], topic, sizes.size)),
        target_distance=distance,
        outside=distance > threshold,
        warnings=_no_words(grams),
    )


def _latent(grams: Grams, seed: int) -> Vectors:
    """Places on the leading singular vectors of the words that several prompts share, (n + t, <= 50), length one.

    Latent semantic analysis (Deerwester et al. 1990): words that occur together come to lie together, so that topics
    are not made of single words.
    """
    mine, columns = grams.weights[: grams.prompts], grams.topical()
    rank = min(TOPIC_DIMENSIONS, columns.size - 1, grams.prompts - 1)
    if rank < 1:
        return np.zeros((grams.damped.shape[0], 1), dtype=np.float32)
    chosen = mine[:, columns].astype(np.float64)
    start = np.random.default_rng(seed).normal(size=min(chosen.shape))
    directions: Any = svds(chosen, k=rank, v0=start)[2]
    return _unit(grams.weights[:, columns] @ directions.T)


def _unit(rows: NDArray[np.floating]) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1.0)).astype(np.float32)


def _given(vectors: ArrayLike | None, target_vectors: ArrayLike | None, n: int, t: int) -> Vectors:
    mine = float_array(np.asarray(vectors), "vectors", ndim=2)
    theirs = np.zeros((0, mine.shape[1]))
    if t:
        if target_vectors is None:
            raise ContractError(f"target_vectors: missing for {t} target texts; pass them, or leave out `vectors`.")
        theirs = float_array(target_vectors, "target_vectors", ndim=2)
    same_length(prompts=n, vectors=len(mine))
    same_length(target=t, target_vectors=len(theirs))
    if mine.shape[1] != theirs.shape[1]:
        got, wanted = theirs.shape[1], mine.shape[1]
        raise ContractError(f"target_vectors: {got} dimensions, but vectors have {wanted}; use one model for both.")
    return _unit(np.concatenate([mine, theirs]))


def _clusters(places: Vectors, k: int, seed: int) -> IntArray:
    """k-means clusters that are not empty, numbered by size, the largest first, (n,)."""
    rng, points = np.random.default_rng(seed), places.astype(np.float64)
    found, least = np.zeros(len(points), dtype=np.int64), np.inf
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")  # an empty cluster is no topic, and nothing is lost with it
        for _ in range(_STARTS):
            centres, label = kmeans2(points, k, iter=_STEPS, minit="++", rng=rng)
            spread = float(np.sum((points - centres[label]) ** 2))
            if spread < least:
                found, least = np.unique(label, return_inverse=True)[1].astype(np.int64), spread
    sizes = np.bincount(found)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return rank[found]


def _centres(places: Vectors, topic: IntArray, k: int) -> Vectors:
    return np.stack([places[topic == one].mean(axis=0) for one in range(k)])


def _closest_centre(places: Vectors, centres: Vectors) -> IntArray:
    gap = np.sum(centres**2, axis=1)[None, :] - 2 * places @ centres.T
    return gap.argmin(axis=1).astype(np.int64)


def _nearest_distance(places: Any, among: Any, own: IntArray | None = None) -> FloatArray:
    """Cosine distance of each row to the nearest of the others, 0 to 2; `own` is a row's place among them."""
    n = places.shape[0]
    best, columns = np.empty(n, dtype=np.float64), among.T if isinstance(among, np.ndarray) else among.T.tocsr()
    for start in range(0, n, _BLOCK):
        cosine = places[start : start + _BLOCK] @ columns
        cosine = cosine if isinstance(cosine, np.ndarray) else cosine.toarray()
        if own is not None:
            cosine[np.arange(len(cosine)), own[start : start + len(cosine)]] = -1.0
        best[start : start + len(cosine)] = cosine.max(axis=1)
    return np.clip(1.0 - best, 0.0, 2.0)


def _topic_words(grams: Grams, topic: IntArray, k: int) -> tuple[str, ...]:
    """The words whose mean weight in a topic exceeds that in all prompts most; "" where none does."""
    columns = grams.topical()
    mine = grams.weights[: grams.prompts][:, columns]
    overall = np.asarray(mine.mean(axis=0)).ravel()
    found = list[str]()
    for one in range(k):
        excess = np.asarray(mine[np.flatnonzero(topic == one)].mean(axis=0)).ravel() - overall
        best = np.argsort(-excess, kind="stable")[:_TOPIC_WORDS]
        found.append(", ".join(grams.names[columns[gram]] for gram in best if excess[gram] > 0))
    return tuple(found)


def _no_words(grams: Grams | None) -> tuple[str, ...]:
    if grams is None:
        return ()
    empty = int(np.sum(np.diff(grams.damped.indptr)[: grams.prompts] == 0))
    return (f"no_words: {empty} of {grams.prompts} prompts hold no word",) if empty else ()
