"""The spec: what the user asks for, as types. Text becomes these values in ``spec.read``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Tower = Literal["user", "item"]
NumericEmbedding = Literal["none", "piecewise_linear", "periodic"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def _listed(value: Any) -> Any:
    """A single value where a list may stand."""
    return value if value is None or isinstance(value, list) else [value]


Paths = Annotated[list[str], BeforeValidator(_listed)]
Names = Annotated[list[str], BeforeValidator(_listed)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=False)


class Join(Section):
    """A look-up table: its columns are added to every row by key."""

    file: str
    on: str | dict[str, str]  # a column of both, or {column of the data: column of the file}


class Split(Section):
    """Parts of the training rows that are kept for validation and test."""

    method: Literal["random", "time", "order", "user", "leave_one_out"] = "random"
    valid: Rate = 0.1
    test: Rate = 0.0


class Data(Section):
    train: Paths | None = None
    valid: Paths | None = None
    test: Paths | None = None
    items: Paths | None = None
    join: list[Join] = []
    filter: str | None = None
    format: Literal["auto", "parquet", "csv", "tsv", "jsonl", "arrow"] = "auto"
    split: Split | None = None
    cache: Literal["auto", "off"] = "auto"


class FeatureSpec(Section):
    column: str | None = None  # where the feature's name is not the column's
    tower: Tower | None = None


class Sparse(FeatureSpec):
    """A category: an id of any type."""

    type: Literal["sparse"]
    embed_dim: Positive | None = None
    min_count: Positive = 1
    max_vocab: Positive | None = None
    oov_buckets: Positive = 1
    hash_buckets: Positive | None = None
    expire: Positive | None = None  # days without being met after which an id leaves, when a run starts from another
    shares: str | None = None
    id_dropout: Rate = 0.0


class Dense(FeatureSpec):
    """A number."""

    type: Literal["dense"]
    transform: (
        Literal["none", "standardize", "minmax", "log1p", "quantile"] | dict[Literal["bucketize"], list[float]]
    ) = "standardize"
    embedding: NumericEmbedding = "none"
    embed_dim: Positive | None = None  # of the embedded number
    n_bins: Positive = 48  # piecewise_linear
    flag_missing: bool = False  # adds a 0/1 column `<name>.missing`
    statistics: Literal["frozen", "continue"] = "frozen"  # when a run starts from another


class Datetime(FeatureSpec):
    """A moment: its parts become categories named ``<feature>.<part>``."""

    type: Literal["datetime"]
    parts: list[Literal["minute", "hour", "weekday", "day", "week", "month", "year", "date"]] = ["hour", "weekday"]
    unit: Literal["s", "ms", "us", "ns"] = "s"  # of integer columns, since 1970 UTC
    embed_dim: Positive | None = None


class Sequence(FeatureSpec):
    """Several ids in one cell: a list column or delimited text."""

    type: Literal["sequence"]
    embed_dim: Positive | None = None
    shares: str | None = None
    max_len: Positive = 50
    pooling: Literal["mean", "sum", "max", "none"] = "mean"
    separator: Annotated[str, Field(min_length=1)] = "|"
    min_count: Positive = 1
    max_vocab: Positive | None = None
    oov_buckets: Positive = 1
    hash_buckets: Positive | None = None
    expire: Positive | None = None
    role: Literal["input", "negatives"] = "input"  # negatives: items shown and not chosen, for `negatives: given`


class History(FeatureSpec):
    """The user's own past, built from the log."""

    type: Literal["history"]
    of: Names
    where: dict[str, Any] = {}
    lag: str | None = None
    max_len: Positive = 50
    pooling: Literal["mean", "sum", "max", "none"] = "mean"
    windows: Literal["all", "last"] = "all"  # of a sequential model's training: all of a user's events, or the newest


class Vector(FeatureSpec):
    """A fixed-size list of floats that the user already has."""

    type: Literal["vector"]
    dim: Positive


AnyFeature = Annotated[Sparse | Dense | Datetime | Sequence | History | Vector, Field(discriminator="type")]


class Label(Section):
    type: Literal["classification", "regression"] = "classification"
    column: str | None = None
    weight: str | None = None  # column of this label's own row weights
    after: str | None = None  # the label that must be 1 where this one is: click, of a conversion
    positive: str | int | float | bool | None = None  # ">= 4", or the value that means yes
    negative_rate: Annotated[float, Field(gt=0, le=1)] = 1.0


class Model(Section):
    name: str
    params: dict[str, Any] = {}


class EmbeddingOptimizer(Section):
    """How embedding rows are updated: ``same`` is the dense optimizer, every row at every step."""

    name: Literal["auto", "lazy_adam", "rowwise_adagrad", "same"] = "auto"
    lr: Annotated[float, Field(gt=0)] | None = None  # that of the dense optimizer
    l2: Annotated[float, Field(ge=0)] = 0.0  # adds l2 * row to a row's gradient


class Trainer(Section):
    n_epoch: Positive = 10
    eval_every_steps: Positive | None = None
    batch_size: Positive = 4096
    optimizer: str = "adam"
    optimizer_params: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0}
    embedding_optimizer: EmbeddingOptimizer = EmbeddingOptimizer()
    regularization_params: dict[Literal["embedding_l1", "embedding_l2", "dense_l1", "dense_l2"], float] = {}
    scheduler: str | None = None
    scheduler_params: dict[str, Any] = {}
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    checkpoint_every_steps: Positive | None = None  # besides the one after each epoch
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] | None = 15.0
    earlystop_patience: Positive = 3
    monitor: str | dict[str, float] | None = None  # auc_click, or {auc_click: 0.7, auc_buy: 0.3} of several labels
    metrics: Names | None = None
    loss: str | dict[str, str] | None = None  # bce, or mse of regression; {label: loss}; train-match: by mode
    loss_params: dict[str, Any] = {}
    mode: Literal[0, 1, 2, "pointwise", "pairwise", "listwise"] | None = None  # train-match: the model's own
    negatives: str | dict[str, Any] | None = None  # train-match: a sampler, or {name: sampler, its options}
    exclude_seen: bool = False  # train-match: validation leaves out the items that a user already has
    baselines: Names | None = None  # train-match: counting models beside the result; by default those that are quick
    adaptive_params: dict[str, Any] = {}  # train-mtl: {method: uwl, its options}
    earlystop_taskid: int | str = 0  # train-mtl: the label that tells the best weights, by place or name
    device: str = "auto"
    gpus: list[int] = []
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 2026


class Spec(Section):
    """Everything one run needs, besides the data."""

    data: Data = Data()
    embed_dim: Positive = 16
    features: dict[str, AnyFeature]
    labels: dict[str, Label] = {}
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    order: str | None = None
    user: str | None = None
    item: str | None = None
    model: Model
    trainer: Trainer = Trainer()
