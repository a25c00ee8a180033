"""What somebody who will decide asks of an audit: how much is wrong, whose is it, what decides, what to do next.

Each answer is a sentence or two in plain words, made of the figures of the checks; where a check has no figures, what
it says itself is repeated.
"""

from collections.abc import Callable, Mapping

from sweetspot.auditing.findings import Finding
from sweetspot.pages.wording import MINUS, count, decimal, percent, plural

Found = Mapping[str, Finding]
"""Findings by the name of their check."""

TOLD = frozenset(
    {
        *("label_errors", "against_gold", "annotators", "agreement", "outlying_scores", "raters"),
        *("length_bias", "position_bias", "format_bias", "self_preference", "score_length"),
    }
)
"""Checks that the answers speak of."""
_ALARMS = ("bad", "look")
_MANY = 0.2
"""Share of the wrong votes from which it is worth saying that two annotators cast them."""
_CHANCE = f"a coin would match {percent(0.5)}"


def how_many_wrong(found: Found) -> list[str]:
    """The share of labels that look wrong, or why nobody can tell."""
    labels = found.get("label_errors")
    if labels is None:
        return _scores_wrong(found)
    if labels.level == "not_checked":
        return [f"Nobody can tell from this data how many labels are wrong: {labels.says.removeprefix('Unknown: ')}"]
    if "estimated_error_rate" not in labels.figures:
        return [labels.says]
    known = _against_truth(found)
    if known:
        return known
    rate, checked = _number(labels, "estimated_error_rate"), int(_number(labels, "checked"))
    voted = "annotators" in found or "agreement" in found
    which = "labels that the votes add up to" if voted else "labels"
    said = [f"About {percent(rate)} of the {count(checked)} {which} look wrong, that is some {_some(rate, checked)}."]
    if any(note.startswith("uncalibrated") for note in labels.warnings) and voted:
        said.append("If annotators share a mistake it is more, and nothing here would show it.")
    return said


def _some(rate: float, of: int) -> str:
    """A number of labels, to two digits: the estimate has no more."""
    number = round(rate * of)
    return count(number if number < 100 else round(number, 2 - len(str(number))))


def _against_truth(found: Found) -> list[str]:
    gold = found.get("against_gold")
    if gold is None or "estimate_accuracy" not in gold.figures:
        return []
    right, truths = _number(gold, "estimate_accuracy"), int(_number(gold, "units_with_truth"))
    text = (
        f"In the {count(truths)} cases whose truth is known the votes together are right in {percent(right)}, so about "
        f"{percent(1 - right)} of the labels that they add up to are wrong"
    )
    if "does not help" in gold.says:
        return [f"{text}; that is no better than guessing, and more votes of this kind will not help."]
    if "alone is right more often" in gold.says:
        alone = percent(_number(gold, "best_annotator_accuracy"))
        return [f"{text}; {gold.figures['best_annotator']} alone is better, with {alone} of its votes right."]
    return [f"{text}."]


def _scores_wrong(found: Found) -> list[str]:
    scores = found.get("outlying_scores")
    if scores is None or "outlying_scores" not in scores.figures:
        return [] if scores is None else [f"Nobody can tell which scores are wrong: {scores.says}"]
    alone, torn = int(_number(scores, "outlying_scores")), int(_number(scores, "undecidable_responses"))
    return [
        f"{percent(_number(scores, 'outlying_share'))} of the scores ({count(alone)}) are far from what the other "
        f"raters say; on {plural(torn, 'response')} the raters disagree so much that nobody can say who is wrong."
    ]


def from_whom(found: Found) -> list[str]:
    """Whose labels they are, as far as the data says who gave them."""
    said = list[str]()
    agreement, people = found.get("agreement"), found.get("annotators")
    if agreement is not None and agreement.level in _ALARMS:
        said.append(_agreement(agreement))
    if people is not None and people.level != "not_checked":
        said.append(_people(people))
    labels = found.get("label_errors")
    if labels is not None and "doubted_most" in labels.figures:
        said.append(_doubted_most(labels))
    raters = found.get("raters")
    if raters is not None and raters.level in _ALARMS:
        said.append(_raters(raters))
    return said


def _raters(raters: Finding) -> str:
    alike = raters.figures.get("mean_rank_correlation")
    if not isinstance(alike, float) or "largest_over_smallest_spread" not in raters.figures:
        return raters.says
    wide = decimal(_number(raters, "largest_over_smallest_spread"), 1)
    return (
        f"Two raters put the responses to a prompt in the same order to {decimal(alike)} (1 is always, 0 no more than "
        f"by chance), and the widest rater's scores spread {wide} times as far as the narrowest's."
    )


def _agreement(agreement: Finding) -> str:
    if "raw_agreement_rate" not in agreement.figures:
        return agreement.says
    beyond = "hardly more than" if agreement.level == "bad" else "more than"
    rate = percent(_number(agreement, "raw_agreement_rate"))
    return f"Two annotators give the same answer in {rate} of cases, {beyond} by chance."


def _people(people: Finding) -> str:
    if "unreliable_annotators" not in people.figures:
        return people.says
    judged, poor = int(_number(people, "annotators_judged")), int(_number(people, "unreliable_annotators"))
    share = _number(people, "wrong_votes_share_of_worst_two")
    enough = f"{count(judged)} annotators with enough votes to judge"
    if not poor:
        return f"Nobody stands out among the {enough}."
    names = people.figures.get("least_reliable", "")
    verb = "is" if poor == 1 else "are"
    two = f"; two annotators alone cast {percent(share)} of the votes that look wrong" if share >= _MANY else ""
    return f"Of the {enough}, {count(poor)} {verb} clearly less reliable than the rest ({names}){two}."


def _doubted_most(labels: Finding) -> str:
    name, kind = labels.figures["doubted_most"], labels.figures["doubted_most_by"]
    if not labels.figures["doubted_most_stands_out"]:
        return f"No {kind} stands out: the doubtful labels are spread over all."
    mine, others = percent(_number(labels, "doubted_most_rate")), percent(_number(labels, "doubted_others_rate"))
    return f"Most of it is in one {kind}: {mine} of the labels of {name} look wrong, {others} of the others."


def what_explains(found: Found) -> list[str]:
    """What decides which response is preferred, besides its quality."""
    said, checked = list[str](), list[str]()
    for name, (thing, alarm) in _EXPLANATIONS.items():
        one = found.get(name)
        if one is None or one.level == "not_checked":
            continue
        if one.level in _ALARMS:
            said.append(alarm(one))
        else:
            checked.append(thing)
    if said:
        return said
    if checked:
        verb = "explains" if len(checked) == 1 else "explain"
        return [f"{_listed(checked).capitalize()} {verb} hardly any of the preference."]
    if any(name in found for name in _EXPLANATIONS):
        return ["What else decides, such as length or the place on the screen, cannot be seen in this data."]
    return []


def _length(length: Finding) -> str:
    if "length_only_accuracy" not in length.figures:
        return length.says
    if "length_and_source_accuracy" in length.figures:
        both = percent(_number(length, "length_and_source_accuracy"))
        return (
            "Length explains part of the preference, and not everywhere alike: the longer response is preferred in "
            f"{length.figures['longer_chosen_in']}, the shorter one in {length.figures['shorter_chosen_in']}; who "
            f"knows only the lengths and the source can match {both} of the labels ({_CHANCE})."
        )
    side = "longer" if _number(length, "longer_chosen_rate") >= 0.5 else "shorter"
    plain = percent(_number(length, "length_only_accuracy"))
    return (
        f"Length explains part of the preference: always taking the {side} response would match {plain} of the labels "
        f"({_CHANCE})."
    )


def _position(position: Finding) -> str:
    if "first_shown_rate" not in position.figures:
        return position.says
    rate = percent(_number(position, "first_shown_rate"))
    return f"The place on the screen explains part of the preference: what is shown first wins {rate} of the time."


def _score_length(length: Finding) -> str:
    if "mean_length_correlation" not in length.figures:
        return length.says
    pull = decimal(_number(length, "mean_length_correlation"))
    way = "lower" if pull.startswith(MINUS) else "higher"
    return f"Length explains part of the preference: longer responses score {way} (rank correlation {pull})."


_EXPLANATIONS: dict[str, tuple[str, Callable[[Finding], str]]] = {
    "length_bias": ("length", _length),
    "score_length": ("length", _score_length),
    "position_bias": ("the place on the screen", _position),
    "format_bias": ("looks", lambda one: one.says.split(". ")[0] + "."),
    "self_preference": ("favouring one's own model", lambda one: one.says),
}


def in_plain_words(finding: Finding) -> str:
    """What a check that the answers do not speak of says, shorter where its figures allow it."""
    if finding.check != "duplicates" or not {"duplicate_rows", "identical_responses"} <= set(finding.figures):
        return finding.says
    copies, same = (int(_number(finding, name)) for name in ("duplicate_rows", "identical_responses"))
    said = (
        [f"{plural(copies, 'row')} {'repeats' if copies == 1 else 'repeat'} an earlier one word for word"]
        if copies
        else []
    )
    if same:
        said.append(f"in {plural(same, 'pair')} both responses are the same text, which teaches nothing")
    text = ", and ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else finding.says


def what_next(found: Found, *, cleaned: bool) -> list[str]:
    """What to do, the most pressing first.

    Args:
        found: findings by check.
        cleaned: a cleaned copy was made already.
    """
    return [step for step in (make(found, cleaned) for make in _STEPS) if step]


def _truths(found: Found, cleaned: bool) -> str:
    gold = found.get("against_gold")
    if gold is None or gold.level != "bad":
        return ""
    return "do not use these votes for labels; have experts or better judges label some of it first"


def _second_opinion(found: Found, cleaned: bool) -> str:
    labels = found.get("label_errors")
    if labels is None or labels.level != "not_checked":
        return ""
    if "annotators" in found:
        return "have at least two more people judge the same cases, and audit again"
    return (
        "have a second person label some 200 of the pairs, or add a reward model's scores (columns score_chosen and "
        "score_rejected), and audit again: only then can a wrong label be seen"
    )


def _leaks(found: Found, cleaned: bool) -> str:
    leaked = [name for name in ("contamination", "leakage") if name in found and found[name].level in _ALARMS]
    return "" if cleaned or not leaked else "take out the rows that also occur in the evaluation data (--clean drop)"


def _people_again(found: Found, cleaned: bool) -> str:
    people = found.get("annotators")
    names = people.figures.get("least_reliable") if people is not None and people.level in _ALARMS else None
    return f"look at the work of {names} before their votes count" if names else ""


def _doubtful(found: Found, cleaned: bool) -> str:
    labels = found.get("label_errors")
    if labels is None or labels.level not in _ALARMS or cleaned:
        return ""
    return (
        "read the doubtful cases listed below, and if you agree run the audit again with --clean drop, which leaves "
        "them out and says so of each"
    )


def _both_orders(found: Found, cleaned: bool) -> str:
    position = found.get("position_bias")
    if position is None or position.level not in _ALARMS:
        return ""
    return "ask every judge in both orders and count only answers that stay the same"


def _one_scale(found: Found, cleaned: bool) -> str:
    raters = found.get("raters")
    wide = raters is not None and raters.level in _ALARMS and "largest_over_smallest_spread" in raters.figures
    return "put the raters on one scale before you compare their scores" if wide else ""


def _lengths(found: Found, cleaned: bool) -> str:
    biased = [name for name in ("length_bias", "score_length") if name in found and found[name].level in _ALARMS]
    if not biased:
        return ""
    return "balance the lengths, or train with a loss that allows for length, or the model learns to write long"


def _copies(found: Found, cleaned: bool) -> str:
    copies = [name for name in ("duplicates", "contradictions", "near_duplicates") if name in found]
    if cleaned or not any(found[name].level in _ALARMS for name in copies):
        return ""
    same = "identical_responses" in found["duplicates"].figures if "duplicates" in found else False
    return f"take out copies{', and pairs whose two responses are the same text' if same else ''} (--clean drop)"


_STEPS = (_truths, _leaks, _second_opinion, _people_again, _doubtful, _both_orders, _one_scale, _lengths, _copies)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(finding: Finding, name: str) -> float:
    value = finding.figures.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
