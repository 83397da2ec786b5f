"""Index files: the right metric, the right ids, a recall that is measured."""

import numpy as np
import pytest

from rechub_cli.data import ann
from rechub_cli.errors import DataError, NoInput, Unavailable, UsageError


def drawn(n, dim=16, seed=0):
    """Vectors of very different lengths, on which the inner product and the distance disagree."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * rng.lognormal(size=(n, 1))).astype(np.float32)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "IVF4,Flat"])
def test_an_index_finds_what_has_the_highest_inner_product(tmp_path, kind):
    vectors, queries = drawn(600), drawn(20, seed=1)
    index, facts = ann.build(vectors, np.arange(600) * 10, kind)
    ann.save(index, tmp_path / "v.faiss")
    opened = ann.Index(tmp_path / "v.faiss")
    assert (opened.labels == np.arange(600) * 10).all()
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    scores, rows = opened.search(queries, 10)
    found = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(rows, exact, strict=True)])
    if kind == "IVF4,Flat":  # it looks into one of four cells
        assert facts["recall@50"] < 0.98
    else:
        assert found > 0.9
        assert facts["recall@50"] > 0.9
        np.testing.assert_allclose(scores[:, 0], (queries @ vectors.T).max(axis=1), rtol=1e-5)


def test_the_recall_is_that_of_another_search():
    vectors = drawn(300)
    index, _ = ann.build(vectors, np.arange(300), "IVF8,Flat")
    exact = np.argsort(-(vectors @ vectors.T), axis=1)[:, :20]
    _, rows = index.search(vectors, 20)
    expected = np.mean([len(set(one) & set(other)) / 20 for one, other in zip(rows, exact, strict=True)])
    assert ann.recall(index, vectors, vectors, 20) == pytest.approx(expected)


def test_more_than_there_are_is_no_answer(tmp_path):
    index, _ = ann.build(drawn(3), np.arange(3), "flat")
    ann.save(index, tmp_path / "v.faiss")
    scores, rows = ann.Index(tmp_path / "v.faiss").search(drawn(2, seed=1), 5)
    assert sorted(rows[0].tolist()) == [0, 1, 2]
    assert np.isfinite(scores).all()


def test_where_a_graph_finds_too_few_the_rest_is_minus_infinity(tmp_path):
    index, _ = ann.build(drawn(200), np.arange(200), "IVF50,Flat")
    ann.save(index, tmp_path / "v.faiss")
    scores, rows = ann.Index(tmp_path / "v.faiss").search(drawn(2, seed=1), 150)
    assert (rows == -1).any()
    assert (np.isneginf(scores) == (rows == -1)).all()


def test_a_deep_search_of_a_graph_finds_as_many_as_asked_for(tmp_path):
    index, _ = ann.build(drawn(2000), np.arange(2000), "hnsw")
    ann.save(index, tmp_path / "v.faiss")
    _, rows = ann.Index(tmp_path / "v.faiss").search(drawn(3, seed=1), 500)
    assert (rows >= 0).all()


def test_only_flat_vectors_can_be_had_back(tmp_path):
    vectors = drawn(100)
    for kind, there in (("flat", True), ("hnsw", True), ("SQ8", False)):
        index, _ = ann.build(vectors, np.arange(100), kind)
        ann.save(index, tmp_path / kind)
        back = ann.Index(tmp_path / kind).vectors()
        assert (back is not None) == there
        assert back is None or (back == vectors).all()


def test_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="use flat, hnsw or a factory string"):
        ann.check_kind("hsnw")
    with pytest.raises(UsageError, match=r"IVF50,Flat: FAISS cannot build it of 3 vectors: .*training points"):
        ann.build(drawn(3), np.arange(3), "IVF50,Flat")
    with pytest.raises(NoInput, match="does not exist"):
        ann.Index(tmp_path / "v.faiss")
    (tmp_path / "v.faiss").write_text("no index at all" * 10)
    with pytest.raises(DataError, match="is no index that rechub embed wrote"):
        ann.Index(tmp_path / "v.faiss")
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(Unavailable, match=r"pip install 'rechub-cli\[faiss\]'"):
        ann.check_kind("flat")
