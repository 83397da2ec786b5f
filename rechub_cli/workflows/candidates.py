"""What can be recommended: the run's catalogue, today's items, a file of vectors or an index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, UsageError
from rechub_cli.workflows import retrieval

if TYPE_CHECKING:
    import pyarrow as pa

    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.manifest import Manifest
    from rechub_cli.trainers.index import IndexRanker
    from rechub_cli.trainers.ranking import Ranker
    from rechub_cli.workflows.load import Trained


@dataclass(slots=True)
class Candidates:
    """What can be recommended, and what finds the best of it."""

    catalogue: Catalogue
    ranker: Ranker | IndexRanker
    places: Catalogue  # what seen items are places of: a model that counts knows those of its training only


def candidates(
    trained: Trained, items: Rows | None = None, embeddings: str | None = None, index: str | None = None
) -> Candidates:
    """The run's catalogue, or the items of a table, of a file of vectors or of an index.

    Raises:
        UsageError: vectors of another model, or of a model that has none.
    """
    own = retrieval.catalogue_of(trained)
    if retrieval.is_counting(trained):
        if embeddings or index:
            raise UsageError(f"{trained.spec.model.name} counts, and has no vectors to be compared with")
        return _counted(trained, items)
    if embeddings or index:
        return _from_vectors(trained, Path(str(embeddings or index)), index is not None)
    if items is None:
        return Candidates(own, retrieval.ranker_of(trained, own), own)
    from rechub_cli.data.catalogue import Catalogue

    todays = Catalogue.of(trained.encoder, own.item, items, known=own)
    return Candidates(todays, retrieval.ranker_of(trained, todays), todays)


def _counted(trained: Trained, items: Rows | None) -> Candidates:
    """A model that counts knows the items of its training; of these, today's."""
    import numpy as np
    import torch

    own = retrieval.catalogue_of(trained)
    if items is None:
        return Candidates(own, retrieval.ranker_of(trained, own), own)
    retrieval.check_needed(items.schema.names, [own.item], "the table of items")
    absent = np.ones(len(own), bool)
    for chunk in items.tables([own.item]):
        places = own.places(chunk.table.column(own.item))
        absent[places[places >= 0]] = False
    if absent.all():
        raise DataError(f"the model knows none of the items in the table: training never met their {own.item}")
    ranker = retrieval.ranker_of(trained, own, absent=torch.from_numpy(absent).to(trained.scorer.device))
    return Candidates(own, ranker, own)


def _from_vectors(trained: Trained, path: Path, is_index: bool) -> Candidates:
    import numpy as np
    import pyarrow as pa
    import torch

    from rechub_cli.batch import Batch
    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.manifest import Manifest

    manifest = Manifest.of(path)
    retrieval.check_same_model(trained, manifest, path)
    index = None
    if is_index:
        from rechub_cli.data.ann import Index

        index = Index(path)
        ids, vectors = _ids_of(index, manifest, path), np.empty((len(index), 0), np.float32)
    else:
        from rechub_cli.data.vector_files import read_vectors

        ids, vectors = read_vectors(path, manifest.id_column)
    if len(ids) != manifest.rows:
        raise DataError(f"{path} has {len(ids):,} vectors, and its manifest says {manifest.rows:,}; embed again")
    nothing = Batch(torch.empty(len(ids), 0, dtype=torch.int32), torch.empty(len(ids), 0))
    item = retrieval.catalogue_of(trained).item
    catalogue = Catalogue(item, pa.table({item: ids}), nothing, torch.zeros(len(ids), dtype=torch.int64))
    ranker = retrieval.ranker_of(trained, catalogue, items=torch.from_numpy(vectors))
    if index is None:
        return Candidates(catalogue, ranker, catalogue)
    from rechub_cli.trainers.index import IndexRanker

    return Candidates(catalogue, IndexRanker(ranker, index), catalogue)


def _ids_of(index: Any, manifest: Manifest, path: Path) -> pa.ChunkedArray:
    """The user's own id of each row of an index."""
    import pyarrow as pa

    from rechub_cli.data.stored import read_stored
    from rechub_cli.data.vectors import ids_beside

    if (manifest.index or {}).get("ids") != "row":
        return pa.chunked_array([pa.array(index.labels)])
    try:
        return read_stored(ids_beside(path)).column(manifest.id_column)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{ids_beside(path)} cannot be read: {error}; embed again") from error
