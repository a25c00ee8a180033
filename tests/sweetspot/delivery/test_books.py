import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import CheckError, ContractError

IDS = st.lists(st.text(max_size=8), max_size=12)
FAST = settings(max_examples=50, deadline=None)


def balanced(**change):
    fields = {
        "stage": "clean_scores",
        "unit": "response",
        "rows_in": IdSet.of(["a", "b", "c", "d"]),
        "rows_out": IdSet.of(["a", "b"]),
        "dropped": {"empty": IdSet.of(["c"]), "looping": IdSet.of(["d"])},
    }
    return Book(**{**fields, **change})


def test_digest_is_the_sum_of_the_leading_16_bytes_of_each_sha256():
    expected = sum(int(hashlib.sha256(one.encode()).hexdigest()[:32], 16) for one in ("a", "b", "b")) % 2**128
    assert IdSet.of(["a", "b", "b"]) == IdSet(3, expected)


def test_digest_of_a_known_id():
    # printf abc | sha256sum: ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 ...
    assert IdSet.of(["abc"]).to_json() == {"count": 1, "digest": "ba7816bf8f01cfea414140de5dae2223"}


def test_digest_wraps_at_two_to_the_128():
    assert IdSet(1, 2**128 - 1) + IdSet(1, 2) == IdSet(2, 1)


@FAST
@given(IDS, st.randoms(use_true_random=False))
def test_order_does_not_matter(ids, random):
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert IdSet.of(shuffled) == IdSet.of(ids)


@FAST
@given(IDS, IDS)
def test_parts_add_up_to_the_whole(left, right):
    assert IdSet.of(left) + IdSet.of(right) == IdSet.of(left + right)


@FAST
@given(IDS)
def test_the_empty_set_is_neutral(ids):
    assert IdSet.of(ids) + IdSet.EMPTY == IdSet.of(ids)
    assert IdSet.of([]) == IdSet.EMPTY


@FAST
@given(IDS.filter(lambda ids: len(set(ids)) > 1), st.data())
def test_one_id_lost_and_another_doubled_is_seen(ids, data):
    lost = data.draw(st.sampled_from(sorted(set(ids))))
    doubled = data.draw(st.sampled_from(sorted(set(ids) - {lost})))
    changed = list(ids)
    changed[changed.index(lost)] = doubled
    assert IdSet.of(changed).count == IdSet.of(ids).count
    assert IdSet.of(changed) != IdSet.of(ids)


@FAST
@given(IDS)
def test_a_set_survives_json(ids):
    assert IdSet.from_json(IdSet.of(ids).to_json()) == IdSet.of(ids)


def test_a_small_digest_keeps_its_32_digits():
    assert IdSet(0, 5).to_json()["digest"] == "0" * 31 + "5"


@pytest.mark.parametrize(
    "bad",
    [
        {"count": 1, "digest": "AB" * 16},
        {"count": 1, "digest": "0" * 31},
        {"count": 1, "digest": "0" * 33},
        {"count": -1, "digest": "0" * 32},
        {"count": True, "digest": "0" * 32},
        {"count": 1.0, "digest": "0" * 32},
        {"count": 1, "digest": 5},
        {"count": 1},
        {"count": 1, "digest": "0" * 32, "more": 1},
        [1, "0" * 32],
        None,
    ],
)
def test_a_damaged_set_is_refused(bad):
    with pytest.raises(ContractError, match="id set"):
        IdSet.from_json(bad)


def test_an_id_that_is_no_text_is_refused_with_its_place():
    with pytest.raises(ContractError, match="id 1: got 7, expected a text"):
        IdSet.of(["a", 7])


def test_a_balanced_book_balances():
    balanced().balance()


def test_a_lost_row_is_named_with_all_counts():
    with pytest.raises(CheckError) as caught:
        balanced(rows_out=IdSet.of(["a"])).balance()
    message = str(caught.value)
    assert message.startswith("clean_scores: books do not balance, unit response: 4 in, 1 out, 2 dropped")
    assert "(empty 1, looping 1)" in message
    assert "counts differ by 1 (1 lost)" in message
    assert "id sets differ" not in message


def test_a_surplus_row_is_told_from_a_lost_one():
    with pytest.raises(CheckError, match=r"counts differ by 2 \(2 too many\)"):
        balanced(rows_out=IdSet.of(["a", "b", "c", "d"])).balance()


def test_an_exchanged_id_is_named_although_counts_agree():
    with pytest.raises(CheckError) as caught:
        balanced(rows_out=IdSet.of(["a", "a"])).balance()
    assert "the counts agree but the id sets differ" in str(caught.value)
    assert "4 in, 2 out, 2 dropped" in str(caught.value)


def test_a_row_that_left_under_two_reasons_unbalances_the_book():
    with pytest.raises(CheckError, match="1 too many"):
        balanced(dropped={"empty": IdSet.of(["c"]), "looping": IdSet.of(["c", "d"])}).balance()


def test_merging_adds_up_rows_and_reasons():
    other = balanced(
        rows_in=IdSet.of(["e", "f", "g"]),
        rows_out=IdSet.of(["e"]),
        dropped={"empty": IdSet.of(["f"]), "run_on": IdSet.of(["g"])},
    )
    merged = Book.merge([balanced(), other])
    assert merged == balanced(
        rows_in=IdSet.of("abcdefg"),
        rows_out=IdSet.of("abe"),
        dropped={"empty": IdSet.of("cf"), "looping": IdSet.of("d"), "run_on": IdSet.of("g")},
    )
    merged.balance()


def test_merging_one_book_leaves_the_original_alone():
    one = balanced()
    merged = Book.merge([one])
    merged.dropped["empty"] = IdSet.EMPTY
    assert one == balanced()


def test_two_chunks_that_swapped_a_row_balance_only_together():
    first = balanced(rows_out=IdSet.of(["a", "x"]))
    second = balanced(rows_in=IdSet.of(["x"]), rows_out=IdSet.of(["b"]), dropped={})
    for alone in (first, second):
        with pytest.raises(CheckError):
            alone.balance()
    Book.merge([first, second]).balance()


@pytest.mark.parametrize(
    ("books", "message"),
    [
        ([], "nothing to merge"),
        (
            [balanced(), balanced(stage="build_pairs")],
            "book 1 is of build_pairs in responses, the first of clean_scores",
        ),
        ([balanced(), balanced(), balanced(unit="pair")], "book 2 is of clean_scores in pairs"),
    ],
)
def test_books_that_do_not_belong_together_are_refused(books, message):
    with pytest.raises(ContractError, match=message):
        Book.merge(books)


def test_a_book_survives_json():
    assert Book.from_json(balanced().to_json()) == balanced()


def test_a_damaged_book_is_refused_with_its_place():
    damaged = balanced().to_json()
    damaged["dropped"]["empty"]["count"] = "one"
    with pytest.raises(ContractError, match=r"book\.dropped\.empty\.count: got 'one'"):
        Book.from_json(damaged)


@pytest.mark.parametrize("change", [{"stage": ""}, {"unit": ""}, {"dropped": {"": IdSet.EMPTY}}])
def test_a_nameless_part_is_refused(change):
    with pytest.raises(ContractError, match="not empty"):
        balanced(**change)
