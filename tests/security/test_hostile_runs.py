"""A run directory that somebody else has made: nothing in it is executed, followed out of it, or unpacked without end.

A payload, where it ran, would make the canary, a file; no case may find one.
"""

import gzip
import hashlib
import json
import os
import pickle
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parents[1] / "fuzz"))
import fuzz
import sandbox
from nursery import Nursery

DATA, NO_INPUT, UNAVAILABLE = 65, 66, 69

# The commands that read a run, each on the run of a task; one more that does is one more line.
COMMANDS = {
    "evaluate": ("ctr", "evaluate run -d {data}/ctr/test.parquet"),
    "predict": ("ctr", "predict run -d {data}/ctr/test.parquet -o out.parquet"),
    "predict-match": ("match", "predict run -d {data}/match/test.parquet -o out.parquet"),
    "embed": ("match", "embed run --mode user -d {data}/match/test.parquet -o out.parquet"),
    "recommend": ("match", "recommend run --users {data}/match/test.parquet -k 5 -o out.parquet"),
    "resume": ("ctr", "train-ctr {data}/ctr.yaml -o run --resume must --epochs 2"),
}
RESUME = ("resume",)
ALL = tuple(COMMANDS)
USING = tuple(command for command in ALL if command not in RESUME)  # going on trusts the user's spec, not run.json
MATCH = ("predict-match", "embed", "recommend")


class Payload:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@dataclass(frozen=True)
class World:
    """A folder with a run to spoil, and what spoils it."""

    folder: Path
    run: Path
    canary: Path

    def json(self, name, **changes):
        """Change values of a JSON file of the run, by dotted key."""
        content = json.loads((self.run / name).read_text())
        for key, value in changes.items():
            *above, last = key.split("__")
            here = content
            for part in above:
                here = here[part]
            here[last] = value
        (self.run / name).write_text(json.dumps(content))

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / (self.run / "best").read_text().strip()

    @property
    def weights(self) -> Path:
        return self.checkpoint / "model.safetensors"

    @property
    def vocabulary(self) -> Path:
        return min((self.run / "encoder").glob("*.parquet"))

    @property
    def payload(self) -> bytes:
        return pickle.dumps(Payload(self.canary))

    def vouch(self, name: str = "model.safetensors") -> None:
        """Whoever changes a file can change the hash that vouches for it."""
        data = (self.checkpoint / name).read_bytes()
        facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest = json.loads((self.checkpoint / "manifest.json").read_text())
        manifest["files"][name] = facts
        (self.checkpoint / "manifest.json").write_text(json.dumps(manifest))

    def plugin(self) -> str:
        """Code of the run's own, as training would have kept it."""
        code = f"import os\nos.system('touch {self.canary}')\nclass Net: pass\n".encode()
        code += b"class AUC:\n    higher_is_better, tasks, needs_group = True, ('classification',), False\n"
        code += b"    def __call__(self, *_, **__): return 1.0\n"
        (self.run / "plugin").mkdir()
        (self.run / "plugin" / "net.py").write_bytes(code)
        self.json("run.json", plugins={"net.py": hashlib.sha256(code).hexdigest()})
        return "./plugin/net.py"


# pickles, wherever a file could hide one


def pickled_weights(world):
    import torch

    torch.save({"weight": Payload(world.canary)}, world.weights)
    world.vouch()


def pickled_bytes(world):
    world.weights.write_bytes(world.payload)
    world.vouch()


def pickled_weights_by_an_older_name(world):
    world.weights.rename(world.weights.with_name("model.pt"))
    world.weights.with_name("model.pt").write_bytes(world.payload)


def pickled_run(world):
    (world.run / "run.json").write_bytes(world.payload)


def pickled_pointer(world):
    (world.run / "best").write_bytes(world.payload)


def pickled_manifest(world):
    (world.checkpoint / "manifest.json").write_bytes(world.payload)


def pickled_encoder(world):
    (world.run / "encoder" / "encoder.json").write_bytes(world.payload)


def pickled_vocabulary(world):
    world.vocabulary.write_bytes(world.payload)


def extension_vocabulary(world):
    """An extension type whose metadata is a pickle: CVE-2023-47248 of pyarrow."""
    for name in (b"arrow.py_extension_type", b"rechub.hostile"):
        table = pq.read_table(world.vocabulary)
        metadata = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": world.payload}
        field = table.schema.field("value").with_metadata(metadata)
        table = table.cast(pa.schema([field, *list(table.schema)[1:]]))
        pq.write_table(table.slice(1), world.vocabulary)


def pickled(name):
    def spoil(world):
        (world.run / name).write_bytes(world.payload)

    spoil.__name__ = f"pickled {name}"
    return spoil


def objects_in_a_column(world):
    table = pq.read_table(world.run / "catalogue.parquet")
    items = pa.array([world.payload] * len(table))
    pq.write_table(table.set_column(0, table.column_names[0], items), world.run / "catalogue.parquet")


# code that a run names


def names_code_as_its_model(world):
    world.json("run.json", spec__model__name=world.plugin() + ":Net")


def names_code_as_its_metric(world):
    world.json("run.json", spec__trainer__metrics=["auc", world.plugin() + ":AUC"])


def names_code_as_its_monitor(world):
    world.json("run.json", spec__trainer__monitor={world.plugin() + ":AUC": 1.0})


def names_code_as_its_loss(world):
    world.json("run.json", spec__trainer__loss={"click": world.plugin() + ":AUC"})


def names_code_as_its_weighting(world):
    world.json("run.json", spec__trainer__adaptive_params={"method": world.plugin() + ":Net"})


def names_a_module(world):
    world.json("run.json", spec__model__name="antigravity:x")


def names_code_elsewhere(world):
    (world.folder / "net.py").write_text(f"import os\nos.system('touch {world.canary}')\nclass Net: pass\n")
    world.json("run.json", spec__model__name="./plugin/../../net.py:Net")


# what a run was asked for, and how far it came


def pickled_state(name):
    def spoil(world):
        (world.checkpoint / name).write_bytes(world.payload)
        world.vouch(name)

    spoil.__name__ = f"pickled {name}"
    return spoil


def asks_for(world, override, **changes):
    world.json("request.json", overrides=[override], **changes)


def request_that_reads_a_file(world):
    asks_for(world, "model.name=@/etc/passwd")


def request_that_names_code(world):
    name = f"{world.run}/{world.plugin()}:Net"
    changes = {"spec__model__name": name, "spec__model__params": {}}
    world.json("request.json", overrides=[f"model.name={name}", "model.params={}"], **changes)


def request_that_names_code_above(world):
    name = f"{world.run}/{world.plugin()}:AUC"
    asks_for(world, f"trainer={{metrics: [auc, '{name}']}}", spec__trainer={"metrics": ["auc", name]})


# ways out of the run


def link_to(name, target):
    def spoil(world):
        place = world.run / name
        if place.is_dir():
            shutil.move(place, world.folder / "elsewhere")
        elif place.exists():
            place.unlink()
        place.symlink_to(str(world.folder / "elsewhere") if target is None else target)

    spoil.__name__ = f"{name} is a link to {target or 'a folder elsewhere'}"
    return spoil


def weights_elsewhere(world):
    shutil.move(world.weights, world.folder / "weights")
    world.weights.symlink_to(world.folder / "weights")


def pointer_out(world):
    shutil.copytree(world.checkpoint, world.folder / "step-1")
    (world.run / "best").write_text("../../step-1\n")


def vocabulary_out(world):
    secret = world.folder / "secret.parquet"
    shutil.move(world.vocabulary, secret)
    content = (world.run / "encoder" / "encoder.json").read_text()
    (world.run / "encoder" / "encoder.json").write_text(content.replace('"000-', f'"{world.folder}/secret.parquet#'))


def join_out(world):
    (world.folder / "secret.csv").write_text("user_id,city\n1,a\n")
    world.json("run.json", spec__data__join=[{"file": "../secret.csv", "on": "user_id"}])


def pipe(world):
    (world.run / "run.json").unlink()
    os.mkfifo(world.run / "run.json")


# more than a file of its size can hold


def bomb_of_brackets(world):
    (world.run / "run.json").write_text('{"format": ' + "[" * 1_000_000)


def bomb_of_digits(world):
    (world.run / "run.json").write_text('{"format": ' + "9" * 1_000_000 + "}")


def bomb_of_lists(world):
    (world.run / "run.json").write_text('{"format": [' + "[]," * 20_000_000 + "0]}")


def encoder_of_brackets(world):
    (world.run / "encoder" / "encoder.json").write_text('{"format":' * 200_000)


def header_of_10_gb(world):
    world.weights.write_bytes((10 << 30).to_bytes(8, "little") + world.weights.read_bytes()[8:])
    world.vouch()


def footer_of_2_gb(world):
    world.vocabulary.write_bytes(world.vocabulary.read_bytes()[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1")


def vocabulary_bomb(world):
    """Few bytes that unpack to gigabytes: a value that stands very often."""
    n = 40_000_000
    table = pa.table(
        {"value": pa.nulls(n, pa.int64()), "count": pa.nulls(n, pa.int64()), "id": pa.nulls(n, pa.int32())}
    )
    pq.write_table(table, world.vocabulary, compression="zstd", row_group_size=n)


def interactions_bomb(world):
    items = pa.LargeListArray.from_arrays(pa.array([0, 60_000_000], pa.int64()), pa.nulls(60_000_000, pa.int64()))
    pq.write_table(pa.table({"user": pa.array([1]), "items": items}), world.run / "interactions.parquet")


def enormous_model(world):
    world.json("run.json", spec__model__params={"hidden_dims": [60_000, 60_000]})


def enormous_embedding(world):
    world.json("encoder/encoder.json", embed_dim=100_000_000)


def model_of_other_options(world):
    world.json("run.json", spec__model__params={"nix": 1})


def manifest_of_texts(world):
    world.json(f"checkpoints/{world.checkpoint.name}/manifest.json", files={"model.safetensors": "x"})


def columns_of_nothing(world):
    world.json("run.json", columns=[None])


def users_without_lists(world):
    table = pq.read_table(world.run / "interactions.parquet")
    nothing = pa.nulls(len(table), table.schema.field("items").type)
    pq.write_table(table.set_column(1, "items", nothing), world.run / "interactions.parquet")


CASES = [
    (pickled_weights, ALL, DATA),
    (pickled_bytes, ALL, DATA),
    (pickled_weights_by_an_older_name, USING, NO_INPUT),
    (pickled_run, ALL, DATA),
    (pickled_pointer, USING, NO_INPUT),
    (pickled_manifest, ALL, DATA),
    (pickled_encoder, ALL, DATA),
    (pickled_vocabulary, ALL, DATA),
    (extension_vocabulary, ALL, DATA),
    (pickled("catalogue.parquet"), MATCH, DATA),
    (pickled("interactions.parquet"), MATCH, DATA),
    (pickled("history/events.parquet"), MATCH, DATA),
    (objects_in_a_column, MATCH, DATA),
    (names_code_as_its_model, USING, UNAVAILABLE),
    (names_code_as_its_metric, USING, UNAVAILABLE),
    (names_code_as_its_monitor, USING, UNAVAILABLE),
    (names_code_as_its_loss, USING, UNAVAILABLE),
    (names_code_as_its_weighting, USING, UNAVAILABLE),
    (names_a_module, USING, UNAVAILABLE),
    (names_code_elsewhere, USING, UNAVAILABLE),
    (link_to("run.json", "/dev/zero"), ALL, DATA),
    (link_to("best", "/dev/zero"), ALL, DATA),
    (link_to("best", "../../x"), ALL, DATA),
    (link_to("encoder", None), ALL, DATA),
    (link_to("checkpoints", None), ALL, DATA),
    (link_to("catalogue.parquet", "/etc/passwd"), MATCH, DATA),
    (link_to("history", None), MATCH, DATA),
    (weights_elsewhere, ALL, DATA),
    (pointer_out, USING, NO_INPUT),
    (vocabulary_out, ALL, DATA),
    (join_out, ("evaluate", "predict"), DATA),
    (pipe, ALL, DATA),
    (bomb_of_brackets, ALL, DATA),
    (bomb_of_digits, ALL, DATA),
    (bomb_of_lists, ALL, DATA),
    (encoder_of_brackets, ALL, DATA),
    (header_of_10_gb, ALL, DATA),
    (footer_of_2_gb, ALL, DATA),
    (vocabulary_bomb, ("predict",), DATA),
    (interactions_bomb, ("recommend",), DATA),
    (enormous_model, ("predict",), DATA),
    (enormous_embedding, ALL, DATA),
    (model_of_other_options, USING, DATA),
    (users_without_lists, MATCH, DATA),
    (manifest_of_texts, ALL, DATA),
    (columns_of_nothing, USING, DATA),
    (pickled_state("state.json"), RESUME, DATA),
    (pickled_state("state.safetensors"), RESUME, DATA),
    (pickled("request.json"), RESUME, DATA),
    (link_to("request.json", "/dev/zero"), RESUME, DATA),
    (request_that_reads_a_file, RESUME, DATA),
    (request_that_names_code, RESUME, UNAVAILABLE),
    (request_that_names_code_above, RESUME, UNAVAILABLE),
]


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    """Small data, and a run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    fuzz.small_data(folder / "data")
    texts = fuzz.sound_specs()
    for task, name in {"ctr": "deepfm.yaml", "match": "dssm.yaml"}.items():
        spec = folder / "data" / f"{task}.yaml"
        spec.write_text(texts[task][name].replace(f"data/{task}/", f"{task}/"))
        ended = nursery.run([f"train-{task}", str(spec), "--epochs", "1", "-o", task], folder, folder)
        assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def world_of(runs, tmp_path):
    def made(task):
        shutil.copytree(runs / task, tmp_path / "here" / "run")
        return World(tmp_path / "here", tmp_path / "here" / "run", tmp_path / "canary")

    return made


@pytest.mark.parametrize(
    ("spoil", "command", "code"),
    [
        pytest.param(spoil, command, code, id=f"{spoil.__name__}-{command}".replace("_", " "))
        for number, (spoil, commands, code) in enumerate(CASES)
        for command in (commands[number % len(commands)],)  # each case by one of them, each command by many
    ],
)
def test_a_hostile_run_is_refused(spoil, command, code, nursery, runs, world_of, tmp_path):
    task, line = COMMANDS[command]
    world = world_of(task)
    spoil(world)
    before = sandbox.files_of(world.folder)
    ended = nursery.run(line.format(data=runs / "data").split(), world.folder, tmp_path)
    assert not world.canary.exists()
    assert ended.code == code, ended.err
    after = sandbox.files_of(world.folder) if command not in RESUME else before  # it goes on with the run itself
    assert sandbox.faults(ended, before, after) == []


def test_a_run_s_own_code_runs_where_the_caller_allows_it(nursery, runs, world_of, tmp_path):
    world = world_of("ctr")
    names_code_as_its_metric(world)
    line = COMMANDS["evaluate"][1].format(data=runs / "data").split()
    assert nursery.run([*line, "--plugin"], world.folder, tmp_path).code == 0
    assert world.canary.exists()  # the payload works


def test_vectors_of_others_are_no_pickles(nursery, runs, world_of, tmp_path):
    world = world_of("match")
    made = nursery.run(["embed", "run", "--mode", "item", "-o", "v.npy"], world.folder, tmp_path)
    assert made.code == 0, made.err
    vectors = np.empty(1, object)
    vectors[0] = Payload(world.canary)
    np.save(world.folder / "v.npy", vectors, allow_pickle=True)
    manifest = world.folder / "v.npy.manifest.json"
    facts = json.loads(manifest.read_text())
    for file in facts["files"]:
        file["sha256"] = hashlib.sha256((world.folder / file["name"]).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(facts))
    users = runs / "data" / "match" / "test.parquet"
    line = ["recommend", "run", "--users", str(users), "--embeddings", "v.npy", "-o", "out.csv"]
    ended = nursery.run(line, world.folder, tmp_path)
    assert (ended.code, world.canary.exists()) == (DATA, False), ended.err


@pytest.mark.parametrize("name", ["/dev/zero", "../../../etc/passwd"])
def test_a_manifest_names_files_beside_it(name, nursery, runs, world_of, tmp_path):
    world = world_of("match")
    nursery.run(["embed", "run", "--mode", "item", "-o", "v.npy"], world.folder, tmp_path)
    manifest = world.folder / "v.npy.manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"][0]["name"] = name
    manifest.write_text(json.dumps(facts))
    users = runs / "data" / "match" / "test.parquet"
    line = ["recommend", "run", "--users", str(users), "--embeddings", "v.npy", "-o", "out.csv"]
    assert nursery.run(line, world.folder, tmp_path).code == DATA


def index_of(world, nursery, tmp_path):
    """An index of the run's items, and what its manifest says."""
    made = nursery.run(["embed", "run", "--mode", "item", "-o", "v.faiss"], world.folder, tmp_path)
    assert made.code == 0, made.err
    path = world.folder / "v.faiss"
    return path, json.loads((world.folder / "v.faiss.manifest.json").read_text())


def recommended_by_index(nursery, runs, world, tmp_path):
    users = runs / "data" / "match" / "test.parquet"
    line = ["recommend", "run", "--users", str(users), "--index", "v.faiss", "-o", "out.csv"]
    before = sandbox.files_of(world.folder)
    ended = nursery.run(line, world.folder, tmp_path)
    assert sandbox.faults(ended, before, sandbox.files_of(world.folder)) == []
    return ended


def vouched(path, facts):
    """The manifest of an index that somebody has changed, with the hash that fits."""
    for file in facts["files"]:
        if file["name"] == path.name:
            file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(facts))


def test_faiss_reads_only_what_the_manifest_vouches_for(nursery, runs, world_of, tmp_path):
    pytest.importorskip("faiss")
    world = world_of("match")
    path, facts = index_of(world, nursery, tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "is not the file that" in recommended_by_index(nursery, runs, world, tmp_path).err
    facts["files"] = [file for file in facts["files"] if file["name"] != "v.faiss"]
    vouched(path, facts)
    ended = recommended_by_index(nursery, runs, world, tmp_path)
    assert (ended.code, "does not name v.faiss" in ended.err) == (DATA, True), ended.err


def other_indexes():
    """Kinds of index that embed never writes, of as many vectors as it would."""
    faiss = pytest.importorskip("faiss")
    vectors = np.random.default_rng(7).standard_normal((64, 16)).astype(np.float32)
    ids = np.arange(len(vectors))

    def of(index):
        index.add(vectors) if index.__class__.__name__ == "IndexFlatIP" else index.add_with_ids(vectors, ids)
        return faiss.serialize_index(index).tobytes()

    yield "no ids", of(faiss.IndexFlatIP(16))
    yield "distances", of(faiss.IndexIDMap2(faiss.IndexFlatL2(16)))
    yield "other vectors", of(faiss.IndexIDMap2(faiss.IndexFlatIP(16)))
    binary = faiss.IndexBinaryFlat(64)
    binary.add(np.zeros((64, 8), np.uint8))
    yield "bits", faiss.serialize_index_binary(binary).tobytes()
    sound = of(faiss.IndexIDMap2(faiss.IndexFlatIP(16)))
    yield "cut short", sound[: len(sound) // 2]
    at = sound.index((64 * 16).to_bytes(8, "little"))
    yield "more than there is", sound[:at] + (2**38).to_bytes(8, "little") + sound[at + 8 :]


def test_an_index_of_another_kind_is_refused(nursery, runs, world_of, tmp_path):
    world = world_of("match")
    path, facts = index_of(world, nursery, tmp_path)
    for name, content in other_indexes():
        path.write_bytes(content)
        vouched(path, facts)
        ended = recommended_by_index(nursery, runs, world, tmp_path)
        assert ended.code == DATA, (name, ended.err)


def test_a_packed_look_up_table_is_not_unpacked_without_end(nursery, runs, world_of, tmp_path):
    world = world_of("ctr")
    (world.run / "joins").mkdir()
    with gzip.open(world.run / "joins" / "0-users.csv.gz", "wb", 1) as file:
        file.write(b"user_id,city\n")
        for _ in range(100):
            file.write(b"x" * 10_000_000)
    world.json("run.json", spec__data__join=[{"file": "joins/0-users.csv.gz", "on": "user_id"}])
    line = COMMANDS["predict"][1].format(data=runs / "data").split()
    ended = nursery.run(line, world.folder, tmp_path)
    assert ended.code == DATA
    assert sandbox.faults(ended, set(), set()) == []
