"""Look-up tables: columns added to every row by key."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.chunk import Rows
from rechub_cli.data.types import kind, plain, unify
from rechub_cli.errors import DataError, SpecError
from rechub_cli.spec.model import Join


class LookUp:
    """One table of ``data.join``: read once, when a column of it is first needed; its keys are unique.

    Attributes:
        name: the file, as messages show it.
        keys: the columns of the data that are looked up.
        added: the columns that it adds.
    """

    def __init__(self, join: Join, rows: Rows) -> None:
        self.name = join.file
        self._on = {join.on: join.on} if isinstance(join.on, str) else dict(join.on)
        self._rows = rows
        self.keys = list(self._on)
        self.added = [name for name in rows.schema.names if name not in self._on.values()]
        for key in self._on.values():
            if key not in rows.schema.names:
                raise SpecError(f"{self.name} has no column {key!r} to join on; there are: {_listed(rows.schema)}")

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self._on} {self._rows.fingerprint()}".encode()).hexdigest()

    def key_types(self) -> dict[str, pa.DataType]:
        """The data's key columns, with the types that the look-up table gives them."""
        return {key: plain(self._rows.schema.field(there).type) for key, there in self._on.items()}

    def extend(self, schema: pa.Schema, file: str) -> pa.Schema:
        """The data's schema with the added columns.

        Raises:
            SpecError: the data lacks a key, or has a column that would be added.
            DataError: a key has another type here than there.
        """
        for key, there in self._on.items():
            if key not in schema.names:
                raise SpecError(f"{file} has no column {key!r} to join {self.name} on; there are: {_listed(schema)}")
            _key_type(schema.field(key).type, self._rows.schema.field(there).type, f"{key} of {file}", self.name)
        for name in self.added:
            if name in schema.names:
                raise SpecError(f"joining {self.name} would add the column {name!r}, which the data already has")
            schema = schema.append(self._rows.schema.field(name))
        return schema

    def add(self, table: pa.Table, file: str) -> tuple[pa.Table, int]:
        """The table with the added columns, null where the key is not found, and how many rows that were."""
        found = self._find([table.column(key) for key in self.keys], file)
        for name in self.added:
            table = table.append_column(self._table.schema.field(name), self._table.column(name).take(found))
        return table, found.null_count

    @cached_property
    def _table(self) -> pa.Table:
        table = pa.concat_tables([chunk.table for chunk in self._rows.tables()] or [self._rows.schema.empty_table()])
        for key in self._on.values():
            table = table.filter(pc.is_valid(_flat(table.column(key))))
        return table.unify_dictionaries().combine_chunks()

    @cached_property
    def _index(self) -> tuple[list[pa.Array], pa.Array]:
        """The distinct values of each key, and each row's place among their combinations."""
        distinct = [_flat(self._table.column(key)).unique() for key in self._on.values()]
        columns = [_flat(self._table.column(key)) for key in self._on.values()]
        codes = _combine(columns, distinct)
        places = codes.to_numpy(zero_copy_only=False)
        first = np.unique(places, return_index=True)[1]
        if len(first) < len(places):
            again = int(np.setdiff1d(np.arange(len(places)), first)[0])
            key = ", ".join(
                f"{name}={column[again].as_py()!r}" for name, column in zip(self._on.values(), columns, strict=True)
            )
            raise DataError(f"{self.name}: the key {key} is there more than once; keep one row for each key")
        return distinct, codes

    def _find(self, columns: list[pa.ChunkedArray], file: str) -> pa.Array:
        """Row of the look-up table for each row, null where there is none."""
        distinct, codes = self._index
        given = []
        for column, values, key in zip(columns, distinct, self.keys, strict=True):
            column = _flat(column)
            type = _key_type(column.type, values.type, f"{key} of {file}", self.name)
            try:
                given.append(column.cast(type))
            except pa.ArrowInvalid as error:
                raise DataError(f"{file}: column {key}, a key of {self.name}: {error}") from error
        distinct = [values.cast(column.type) for values, column in zip(distinct, given, strict=True)]
        return pc.index_in(_combine(given, distinct), codes, skip_nulls=True)


def _combine(columns: list[pa.Array], distinct: list[pa.Array]) -> pa.Array:
    """One number for each row's values: their places among the distinct ones, in mixed radix; null if one is new."""
    number = pa.repeat(pa.scalar(0, pa.int64()), len(columns[0]))
    for column, values in zip(columns, distinct, strict=True):
        place = pc.index_in(column, values, skip_nulls=True).cast(pa.int64())
        number = pc.add_checked(pc.multiply_checked(number, len(values) or 1), place)
    return number


def _key_type(one: pa.DataType, other: pa.DataType, column: str, name: str) -> pa.DataType:
    one, other = plain(one), plain(other)
    type = unify(one, other)
    if (
        type is not None
        and pa.types.is_floating(type)
        and not (pa.types.is_floating(one) and pa.types.is_floating(other))
    ):
        type = pa.int64()  # whole numbers that some tool wrote as floats
    if type is None:
        raise DataError(f"the key {column} is of kind {kind(one)}, in {name} {kind(other)}; give both the same type")
    return type


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """One array of plain values; NaN is null."""
    column = column.cast(plain(column.type)) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _listed(schema: pa.Schema) -> str:
    return ", ".join(schema.names[:20]) + (" …" if len(schema.names) > 20 else "")
