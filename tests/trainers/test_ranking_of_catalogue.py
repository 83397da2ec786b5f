"""Full-ranking evaluation, exact to the last tie."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import DataError, Interrupted, SpecError
from rechub_cli.trainers.ranked import load_metrics
from rechub_cli.trainers.ranking import Ranker


@dataclass
class Catalogue:
    batch: Batch
    counts: torch.Tensor


class Towers(nn.Module):
    """The vector of user ``u`` or item ``i`` is row ``u`` or ``i`` of a table."""

    def __init__(self, users, items, temperature=1.0):
        super().__init__()
        self.users, self.items = nn.Parameter(users), nn.Parameter(items)
        self.temperature = temperature
        self.drop = nn.Dropout(0.5)

    def embed_users(self, batch):
        return self.drop(self.users[batch.sparse[:, 0].long()])

    def embed_items(self, batch):
        return self.drop(self.items[batch.sparse[:, 0].long()])


class Counting(nn.Module):
    counting = True

    def __init__(self, counts):
        super().__init__()
        self.register_buffer("counts", counts.float())

    def score_catalogue(self, batch):
        return self.counts.expand(len(batch), -1)


def jagged(rows):
    lengths = torch.tensor([len(row) for row in rows])
    return Jagged(torch.tensor([x for row in rows for x in row]), torch.cat([torch.zeros(1).long(), lengths.cumsum(0)]))


def rows(users, targets, seen=None):
    """A batch of users with lists of target places, and of seen ones."""
    targets = jagged([[[0, place] for place in row] for row in targets])
    targets = Jagged(targets.values.reshape(-1, 2).int(), targets.offsets)
    ids = torch.tensor(users).int()[:, None]
    return Batch(ids, torch.empty(len(users), 0), targets=targets, seen=None if seen is None else jagged(seen))


def catalogue(n, counts=None):
    ids = torch.arange(n).int()[:, None]
    return Catalogue(Batch(ids, torch.empty(n, 0)), torch.ones(n).long() if counts is None else torch.tensor(counts))


def ranker_of(scores, counts=None, **options):
    """A ranker under which user u gives item i the score ``scores[u][i]``."""
    scores = torch.tensor(scores)
    return Ranker(Towers(scores, torch.eye(scores.shape[1])), catalogue(scores.shape[1], counts), **options)


METRICS = load_metrics(["mrr", "hr@1"])
SCORES = [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]


def test_each_target_is_ranked_among_all_items():
    found = ranker_of(SCORES).measure([rows([0, 1], [[1], [3]]), rows([1], [[0]])], METRICS)
    assert found == pytest.approx({"mrr": (1 / 2 + 1 + 1 / 4) / 3, "hr@1": 1 / 3})


def test_the_place_of_the_target_in_the_catalogue_does_not_matter():
    found = ranker_of([[0.0] * 4]).measure([rows([0] * 4, [[0], [1], [2], [3]])], METRICS)
    assert found == pytest.approx({"mrr": 1 / 4, "hr@1": 0})  # all equal: last, wherever it stands


def test_a_model_of_nans_earns_nothing():
    found = ranker_of([[torch.nan] * 4]).measure([rows([0], [[0]])], METRICS)
    assert found == pytest.approx({"mrr": 1 / 4, "hr@1": 0})


def test_seen_items_are_left_out_on_request():
    batch = rows([0], [[2]], seen=[[0, 1]])
    assert ranker_of(SCORES).measure([batch], METRICS)["mrr"] == pytest.approx(1 / 3)
    assert ranker_of(SCORES).measure([batch], METRICS, exclude_seen=True)["mrr"] == 1
    with pytest.raises(DataError, match="already seen"):
        ranker_of(SCORES).measure([rows([0], [[2]])], METRICS, exclude_seen=True)


def test_a_rows_own_target_is_not_left_out_but_all_else_that_was_seen_is():
    batch = rows([0], [[3]], seen=[list(range(len(SCORES[0])))])
    assert ranker_of(SCORES).measure([batch], METRICS, exclude_seen=True)["mrr"] == 1


def test_targets_outside_the_catalogue_are_misses_and_told_once(caplog):
    ranker = ranker_of(SCORES)
    for _ in range(2):
        assert ranker.measure([rows([0, 0], [[-1], [0]])], METRICS)["hr@1"] == 0.5
    assert [record.message for record in caplog.records] == [
        "1 of 2 targets are not in the catalogue: they count as misses"
    ]


def test_rows_without_targets_are_no_queries_and_a_repeated_target_counts_once():
    recall = load_metrics(["recall@2", "coverage@1"])
    found = ranker_of(SCORES).measure([rows([1, 0, 0], [[], [1, 1, 3], [0]])], recall)
    assert found == pytest.approx({"recall@2": (1 / 2 + 1) / 2, "coverage@1": 1 / 4})
    with pytest.raises(DataError, match="no rows to evaluate"):
        ranker_of(SCORES).measure([rows([0], [[]])], recall)


def test_popularity_stands_beside():
    ranker = ranker_of(SCORES, counts=[1, 7, 5, 5])
    found = ranker.measure([rows([0], [[2]], seen=[[1]])], METRICS, popular=True, exclude_seen=True)
    assert found["popular_mrr"] == pytest.approx(1 / 2)  # 7 is left out, and the equal count stands before
    found = ranker.measure([rows([0], [[2]])], load_metrics(["mrr", "coverage@1"]), popular=True)
    assert found.keys() == {"mrr", "coverage@1", "popular_mrr"}


def test_a_counting_model_takes_the_same_path():
    ranker = Ranker(Counting(torch.tensor([1, 7, 5, 5])), catalogue(4))
    assert ranker.measure([rows([0], [[2]])], METRICS)["mrr"] == pytest.approx(1 / 3)
    scores, places = ranker.top(rows([0], [[2]], seen=[[1]]), 2, exclude_seen=True)
    assert (places.tolist(), scores.tolist()) == ([[2, 3]], [[5.0, 5.0]])


def test_interests_are_merged_by_their_highest_score():
    users = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 0, 2.0]]])
    ranker = Ranker(Towers(users, torch.eye(4)), catalogue(4))
    assert ranker.top(rows([0], [[0]]), 3)[1].tolist() == [[3, 0, 1]]
    assert ranker.measure([rows([0], [[0]])], METRICS)["mrr"] == pytest.approx(1 / 2)


@pytest.mark.parametrize(("how", "name"), [("uniform", "mrr[u2]"), ("popularity", "mrr[p2]")])
def test_a_sampled_metric_says_so_and_can_be_repeated(how, name):
    ranker = ranker_of(SCORES)
    batch = rows([0] * 300, [[1]] * 300)
    found = ranker.measure([batch], load_metrics(["mrr", "coverage@1"]), sampled=(how, 2), seed=1)
    assert found.keys() == {name}
    # One of the three others is better; two are drawn, so it is among them in two of three queries.
    assert found[name] == pytest.approx(1 - 2 / 3 / 2, abs=0.05)
    assert found == ranker.measure([batch], load_metrics(["mrr"]), sampled=(how, 2), seed=1)
    assert found != ranker.measure([batch], load_metrics(["mrr"]), sampled=(how, 2), seed=2)


def test_a_sample_by_popularity_meets_the_popular_and_leaves_out_the_seen():
    ranker = ranker_of([[3.0, 2.0, 1.0, 4.0]], counts=[0, 0, 9, 1])
    batch = rows([0] * 50, [[1]] * 50, seen=[[3]] * 50)
    # 0 was never chosen and 3 is seen: the only one to be drawn is 2, which is worse.
    found = ranker.measure([batch], METRICS, sampled=("popularity", 2), exclude_seen=True)
    assert found["hr@1[p2]"] == 1


def test_as_many_as_there_are_is_the_full_ranking():
    batch = rows([0, 1], [[1, 2], [0]])
    full = ranker_of(SCORES).measure([batch], METRICS)
    assert list(ranker_of(SCORES).measure([batch], METRICS, sampled=("uniform", 100)).values()) == list(full.values())


def test_the_model_is_left_as_it_was_and_items_follow_its_weights():
    ranker = ranker_of(SCORES)
    ranker.model.train()
    assert ranker.measure([rows([0], [[1]])], METRICS)["mrr"] == pytest.approx(1 / 2)
    assert ranker.model.training
    with torch.no_grad():
        ranker.model.items.copy_(-torch.eye(4))
    assert ranker.measure([rows([0], [[1]])], METRICS)["mrr"] == pytest.approx(1 / 3)


def test_scores_are_the_logits_of_the_model():
    ranker = Ranker(Towers(torch.tensor(SCORES), torch.eye(4), temperature=0.5), catalogue(4))
    batch = rows([0, 1], [[0], [0]])
    assert ranker.scores(batch).tolist() == [[8.0, 6.0, 4.0, 2.0], [2.0, 4.0, 6.0, 8.0]]
    assert ranker.top(batch, 2)[0].tolist() == [[8.0, 6.0], [8.0, 6.0]]


def test_many_users_and_items_in_blocks():
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(700, 8, generator=generator), torch.randn(9_000, 8, generator=generator)
    ranker = Ranker(Towers(users, items), catalogue(9_000))
    wanted = torch.randint(9_000, (700,), generator=generator)
    scores = users @ items.T
    rank = (scores >= scores.gather(1, wanted[:, None])).sum(1)
    found = ranker.measure([rows(list(range(700)), [[int(place)] for place in wanted])], METRICS)
    assert found["mrr"] == pytest.approx(float((1 / rank).mean()))
    assert torch.equal(ranker.top(rows([5, 699], [[0], [0]]), 3)[1], scores[[5, 699]].topk(3).indices)


def test_mistakes_are_named():
    with pytest.raises(SpecError, match="did you mean 'recall'"):
        load_metrics(["recal@10"])
    with pytest.raises(SpecError, match="no retrieval metric"):
        load_metrics([object()])
    with pytest.raises(SpecError, match="not by 'zipf'"):
        ranker_of(SCORES).measure([rows([0], [[0]])], METRICS, sampled=("zipf", 2))


def test_a_signal_ends_it():
    class Stopped:
        def stop_requested(self):
            return 15

    with pytest.raises(Interrupted):
        ranker_of(SCORES, watcher=Stopped()).measure([rows([0], [[0]])], METRICS)
