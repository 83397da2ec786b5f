"""Values by their place, beside Arrow's own answer."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rechub_cli.kernels.values import ValueIndex, _loops

pytestmark = pytest.mark.skipif(_loops() is None, reason="no compiled loops")


def words(n, longest, letters="ab\x00é", seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), size)) for size in rng.integers(0, longest + 1, n)]


def expected(known, asked):
    return pc.index_in(asked, known, skip_nulls=True).fill_null(-1).to_pylist()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.large_binary()])
@pytest.mark.parametrize("longest", [1, 3, 8, 9, 40])
def test_every_text_is_found_where_it_stands(kind, longest):
    known = pa.array(sorted(set(words(500, longest))), pa.large_string()).cast(kind)
    asked = pa.array([*words(2000, longest, seed=1), None, "", "nowhere to be found"], pa.large_string()).cast(kind)
    index = ValueIndex.of(known)
    assert index.places(asked).tolist() == expected(known, asked)
    assert index.places(known).tolist() == list(range(len(known)))


def test_slices_are_taken_as_they_stand():
    known = pa.array(["x", "aa", "bb", "", "cc", "y"], pa.large_string()).slice(1, 4)
    asked = pa.array(["aa", "y", "cc", None, "", "x", "bb", "aa"], pa.large_string()).slice(1, 6)
    assert ValueIndex.of(known).places(asked).tolist() == [-1, 3, -1, 2, -1, 1]


def test_many_texts_and_a_null_that_would_read_as_the_empty_text():
    known = pa.array(["", *(f"id-{number}" for number in range(100_000))], pa.large_string())
    asked = pa.array([None, *(f"id-{number}" for number in range(99_000, 101_000)), ""], pa.large_string())
    places = ValueIndex.of(known).places(asked)
    assert places[0] == -1
    assert places[1:1001].tolist() == list(range(99_001, 100_001))
    assert (places[1001:2001] == -1).all()
    assert places[-1] == 0


def test_nothing_is_asked():
    index = ValueIndex.of(pa.array(["a"], pa.large_string()))
    assert index.places(pa.array([], pa.large_string())).tolist() == []
    assert index.places(pa.nulls(2, pa.large_string())).tolist() == [-1, -1]


NUMBERS = [pa.int64(), pa.uint64(), pa.float64(), pa.timestamp("us")]


def numbers(n, kind, seed):
    drawn = np.random.default_rng(seed).integers(0, 5000, n)
    far = drawn * 2**40 if kind == pa.timestamp("us") else drawn * (0.5 if kind == pa.float64() else 2**50)
    return pa.array(far).cast(kind)


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_every_number_is_found_where_it_stands(kind):
    known = numbers(3000, kind, 0).unique()
    asked = pa.concat_arrays([numbers(4000, kind, 1), pa.nulls(2, kind), numbers(10, kind, 0)])
    index = ValueIndex.of(known)
    assert index.places(asked).tolist() == expected(known, asked)
    assert index.places(asked.slice(7, 3999)).tolist() == expected(known, asked.slice(7, 3999))
    assert ValueIndex.of(known.slice(5, 50)).places(asked).tolist() == expected(known.slice(5, 50), asked)


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_numbers_are_numbered_as_they_come(kind):
    parts = [numbers(n, kind, n) for n in (1, 700, 20, 3000)]
    index = ValueIndex.of(pa.array([], kind))
    codes = [index.add(part.slice(1) if len(part) > 1 else part) for part in parts]
    everything = pa.concat_arrays([part.slice(1) if len(part) > 1 else part for part in parts]).dictionary_encode()
    assert index.known.equals(everything.dictionary)
    assert np.concatenate(codes).tolist() == everything.indices.to_pylist()


def test_a_null_is_no_number_whatever_lies_beneath_it():
    asked = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x02"), pa.array([7, 7]).buffers()[1]])
    assert asked.to_pylist() == [None, 7]
    assert ValueIndex.of(pa.array([7])).places(asked).tolist() == [-1, 0]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.date32(), pa.int32(), pa.string()], ids=str)
def test_other_values_have_no_index(kind):
    assert ValueIndex.of(pa.array([], kind)) is None


@pytest.mark.parametrize("kind", [pa.large_string(), pa.large_binary()])
@pytest.mark.parametrize("longest", [1, 3, 9, 40])
def test_texts_are_numbered_as_they_come_and_known_ones_keep_their_number(kind, longest):
    parts = [pa.array(words(n, longest, seed=n), pa.large_string()).cast(kind) for n in (1, 700, 20, 3000)]
    index = ValueIndex.of(pa.array([], kind))
    codes = [index.add(part) for part in parts]
    everything = pa.concat_arrays(parts).dictionary_encode()
    assert index.known.equals(everything.dictionary)
    assert np.concatenate(codes).tolist() == everything.indices.to_pylist()
    assert index.places(everything.dictionary).tolist() == list(range(len(index.known)))


def test_no_texts_are_numbered_by_nothing():
    index = ValueIndex.of(pa.array(["a"], pa.large_string()))
    assert index.add(pa.array([], pa.large_string())).tolist() == []
    assert index.known.to_pylist() == ["a"]


def test_slices_are_numbered_as_they_stand():
    index = ValueIndex.of(pa.array(["x", "aa", "y"], pa.large_string()).slice(1, 1))
    assert index.add(pa.array(["z", "bb", "aa", "bb", "q"], pa.large_string()).slice(1, 3)).tolist() == [1, 0, 1]
    assert index.known.to_pylist() == ["aa", "bb"]
