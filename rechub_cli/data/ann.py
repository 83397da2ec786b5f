"""FAISS index files: the package is an extra, ``pip install 'rechub-cli[faiss]'``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rechub_cli.errors import DataError, NoInput, Unavailable, UsageError
from rechub_cli.files import atomic

_KINDS = {"flat": "Flat", "hnsw": "HNSW32"}
_EF_CONSTRUCTION, _EF_SEARCH = 200, 128
_QUERIES, _DEPTH = 1000, 50  # of the recall that is measured


def faiss() -> ModuleType:
    """Raises Unavailable where the package is not there."""
    try:
        import faiss  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise Unavailable(f"a .faiss index needs FAISS ({error}): pip install 'rechub-cli[faiss]'") from error
    return faiss  # type: ignore[no-any-return,unused-ignore]


def check_kind(kind: str) -> None:
    """Raises UsageError for a kind of index that FAISS does not know, Unavailable where there is no FAISS."""
    _create(8, kind)


def build(vectors: np.ndarray, ids: np.ndarray, kind: str) -> tuple[Any, dict[str, Any]]:
    """An index of vectors float32 (n, d) under ids int64 (n,), and what its manifest says of it.

    The metric is given when the index is made: set later, an HNSW graph keeps the distances it was built with.

    Args:
        kind: flat (exact), hnsw, or what FAISS's ``index_factory`` takes: ``IVF1024,Flat``.

    Raises:
        UsageError: FAISS knows no such kind, or needs more vectors for it.
    """
    index = _create(vectors.shape[1], kind)
    vectors = np.ascontiguousarray(vectors, np.float32)
    try:
        if not index.is_trained:
            index.train(vectors)
        index.add_with_ids(vectors, np.ascontiguousarray(ids, np.int64))
    except RuntimeError as error:
        raise UsageError(
            f"--index-type {kind}: FAISS cannot build it of {len(vectors):,} vectors: {_said(error)}"
        ) from error
    depth = min(_DEPTH, len(vectors))
    facts: dict[str, Any] = {"kind": kind, "factory": _factory(kind), "faiss": faiss().__version__}
    if depth:
        queries = vectors[np.unique(np.linspace(0, len(vectors) - 1, _QUERIES).astype(np.int64))]
        facts |= {
            "queries": f"{len(queries)} of its own vectors",
            f"recall@{depth}": recall(index, queries, vectors, depth),
        }
    return index, facts


def recall(index: Any, queries: np.ndarray, vectors: np.ndarray, k: int) -> float:
    """Share of the k best vectors that the index finds; a vector as good as the last of them counts."""
    exact, _ = faiss().knn(queries, vectors, k, metric=faiss().METRIC_INNER_PRODUCT)
    found, _ = index.search(queries, k)
    return float((found >= exact[:, -1:] - 1e-6 * np.abs(exact[:, -1:])).mean())


def save(index: Any, path: Path) -> None:
    """Write the index; the file is whole or not there."""
    with atomic(path) as file:
        faiss().write_index(index, faiss().PyCallbackIOWriter(file.write))


class Index:
    """An index file, opened to search.

    Attributes:
        labels: int64 (n,): the id that row i was added under.
    """

    def __init__(self, path: Path) -> None:
        library = faiss()
        if not path.is_file():
            raise NoInput(f"{path} does not exist; write it with rechub embed RUN --mode item -o {path.name}")
        try:
            self._whole = library.read_index(str(path))  # owns what follows
            self.labels = library.vector_to_array(self._whole.id_map).astype(np.int64)
            self._rows = library.downcast_index(self._whole.index)  # its answers are rows: places
        except (RuntimeError, AttributeError, MemoryError) as error:
            raise DataError(f"{path} is no index that rechub embed wrote: {_said(error)}") from error
        if self._whole.metric_type != library.METRIC_INNER_PRODUCT:
            raise DataError(f"{path} compares vectors by another metric than the inner product; embed again")
        self.dim = int(self._whole.d)

    def __len__(self) -> int:
        return len(self.labels)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows: inner products float32 (n, k), falling, and rows int64; -1 where the index finds no more."""
        depth = min(k, len(self))
        hnsw = getattr(self._rows, "hnsw", None)
        if hnsw is not None:
            hnsw.efSearch = max(hnsw.efSearch, 2 * depth)  # it finds at most so many
        scores, rows = self._rows.search(np.ascontiguousarray(vectors, np.float32), depth)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32), rows

    def vectors(self) -> np.ndarray | None:
        """float32 (n, d) by row; None where this kind of index does not keep them as they were."""
        if not isinstance(self._rows, (faiss().IndexFlat, faiss().IndexHNSWFlat)):
            return None
        return self._rows.reconstruct_n(0, len(self))  # type: ignore[no-any-return,unused-ignore]


def _factory(kind: str) -> str:
    return f"IDMap2,{_KINDS.get(kind.lower(), kind)}"


def _create(dim: int, kind: str) -> Any:
    library = faiss()
    try:
        index = library.index_factory(dim, _factory(kind), library.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            f"--index-type {kind}: FAISS knows no such index; use flat, hnsw or a factory string"
        ) from error
    hnsw = getattr(library.downcast_index(index.index), "hnsw", None)
    if hnsw is not None:
        hnsw.efConstruction, hnsw.efSearch = _EF_CONSTRUCTION, _EF_SEARCH
    return index


def _said(error: Exception) -> str:
    """What FAISS says, without where in its source it says so."""
    return str(error).rpartition("Error: ")[2].strip() or type(error).__name__
