"""Known mistakes of retrieval systems, each as the code that makes it and the test that catches it.

    python tests/traps/naive.py [WORD]      # `make traps`: a few minutes

Puts each mistake into a copy of the package and runs the test, which must fail. Ends with 1 where one does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Trap(NamedTuple):
    """A mistake: ``naive`` in place of ``right``, which stands once in ``file``; ``test`` fails with it."""

    name: str
    file: str
    right: str
    naive: str
    test: str


MATCH = "tests/trainers/test_match_trainer.py::"
RANKING = "tests/trainers/test_ranking_of_catalogue.py::"
SAMPLERS = "tests/samplers/test_samplers.py::"
CONTRACT = "tests/models/test_match_contract.py::"
TRAPS = [
    # What a logit is
    Trap(
        "a cosine without a temperature, which no cross-entropy can bring down",
        "nn/similarity.py",
        "            return scores / self.temperature",
        "            return scores",
        "tests/models/test_two_towers.py::test_a_temperature_lets_the_pointwise_loss_of_a_cosine_fall",
    ),
    Trap(
        "a temperature that training ignores",
        "trainers/retrieval.py",
        'users = users / getattr(self.model, "temperature", 1.0)',
        "users = users * 1.0",
        MATCH + "test_temperature_has_an_effect_on_training_and_none_on_vectors",
    ),
    Trap(
        "a temperature that enters the vectors",
        "nn/similarity.py",
        "return F.normalize(x.float(), dim=-1) if self.normalize else x.float()",
        "return (F.normalize(x.float(), dim=-1) if self.normalize else x.float()) / self.temperature",
        CONTRACT + "test_match_model_keeps_the_contract[uses_its_temperature-dssm-0]",
    ),
    Trap(
        "a learned temperature without bounds",
        "nn/similarity.py",
        "torch.exp(math.log(HIGHEST / LOWEST) * torch.sigmoid(self.position))",
        "torch.exp(math.log(HIGHEST / LOWEST) * (0.5 + 0.25 * self.position))",
        "tests/nn/test_similarity.py::test_a_learned_temperature_stays_in_its_bounds_and_keeps_its_gradient",
    ),
    Trap(
        "vectors that are normalized in training alone",
        "trainers/ranking.py",
        "            return self.model.embed_users(batch.to(self.device)).float()  # type: ignore[operator]",
        "            return 2 * self.model.embed_users(batch.to(self.device)).float()",
        RANKING + "test_scores_are_the_logits_of_the_model",
    ),
    # Log q
    Trap(
        "log q with the wrong sign",
        "trainers/retrieval.py",
        "bias=None if log_q is None else -log_q,",
        "bias=None if log_q is None else log_q,",
        MATCH + "test_candidates_that_are_drawn_often_count_for_less",
    ),
    Trap(
        "log q divided by the temperature",
        "trainers/retrieval.py",
        "bias=None if log_q is None else -log_q,",
        'bias=None if log_q is None else -log_q / getattr(self.model, "temperature", 1.0),',
        MATCH + "test_the_correction_of_likely_items_is_not_divided_by_the_temperature",
    ),
    Trap(
        "one q for two kinds of negatives",
        "samplers/mixed.py",
        "return drawn(draws, (len(positives) - 1) * self.q + self.n / self.size, positives)",
        "return drawn(draws, (len(positives) - 1) * self.q + 1e-9, positives)",
        SAMPLERS + "test_mixed_draws_expect_what_both_sources_do",
    ),
    Trap(
        "q from all of the log instead of training",
        "workflows/match_data.py",
        "fit_catalogue(spec, encoder, parts.train, sources.items, told)",
        "fit_catalogue(spec, encoder, list(rows.values())[-1], sources.items, told)",
        "tests/cli/test_retrieval_parts.py::test_popularity_is_that_of_training",
    ),
    Trap(
        "an item of no interaction with a probability of nothing",
        "nn/candidates.py",
        ".clip(min=1.0) ** alpha",
        " ** alpha",
        SAMPLERS + "test_an_item_that_training_never_chose_has_a_probability_above_0",
    ),
    # Accidental hits
    Trap(
        "the query's own item among its negatives",
        "trainers/contrast.py",
        "masked = scores.gather(1, column).masked_fill_(hits >= 0, -torch.inf)",
        "masked = scores.gather(1, column)",
        "tests/trainers/test_contrast.py::test_the_whole_catalogue_is_the_exact_cross_entropy",
    ),
    Trap(
        "the hardest negatives picked before accidental hits are masked",
        "trainers/contrast.py",
        "        hits = self.hits[rows, None]\n        if self.width:",
        "        hits = self.hits[rows, None]\n        if self.width and self.step.hard is None:",
        "tests/trainers/test_contrast.py::test_the_hardest_are_kept_after_the_querys_own_item_is_masked",
    ),
    Trap(
        "rows of one item as negatives of each other",
        "trainers/upstream_match.py",
        "        own = _same(model, rows, items)\n",
        "        own = torch.arange(rows.n, device=items.device)\n",
        "tests/trainers/test_upstream_match.py::test_rows_of_one_item_are_no_negatives_of_each_other",
    ),
    # Training
    Trap(
        "the last weights instead of the best where nothing stopped early",
        "trainers/loop.py",
        "        if self.at.best_step != self.at.step:",
        "        if self.at.epoch < self.n_epoch:",
        MATCH + "test_the_best_weights_are_kept_though_no_epoch_stopped_early",
    ),
    Trap(
        "in-batch negatives that several interests cannot have",
        "trainers/retrieval.py",
        "            users = self.model.select_interest(",
        '            raise SpecError("two-dimensional vectors only")\n            (',
        "tests/trainers/test_every_match_model.py",
    ),
    Trap(
        "an interest in training that serving does not take",
        "nn/similarity.py",
        "best = interest_scores(users, items).argmax(dim=1)",
        "best = interest_scores(users, items).argmin(dim=1)",
        "tests/models/test_multi_interest.py::test_comirec_trains_the_interest_that_serving_takes",
    ),
    # Histories and padding
    Trap(
        "a history that holds the row's own event",
        "data/history.py",
        "            earlier = there < times",
        "            earlier = there <= times",
        "tests/cli/test_history_retrieval.py::test_what_is_chosen_at_the_same_time_tells_nothing[dssm]",
    ),
    Trap(
        "a sequential model that is trained on the row's own event",
        "nn/events.py",
        "return cls(offsets[targets.rows], targets.values[:, 0].long())",
        "return cls(offsets[targets.rows], targets.values[:, 0].long() + 1)",
        CONTRACT + "test_match_model_keeps_the_contract[knows_only_what_came_before-sasrec-0]",
    ),
    Trap(
        "attention to later events",
        "nn/causal.py",
        "            return compiled",
        "            return compiled + packed.mean()",
        CONTRACT + "test_match_model_keeps_the_contract[knows_only_what_came_before-sasrec-0]",
    ),
    Trap(
        "the last state found by arithmetic on a padded row",
        "nn/events.py",
        "found = states[(self.starts + self.lengths - 1).clamp_(min=0)]",
        "found = states[(self.starts + self.lengths.max() - 1).clamp_(min=0, max=len(states) - 1)]",
        "tests/nn/test_sequences.py",
    ),
    Trap(
        "validation that training's histories do not reach",
        "workflows/match_data.py",
        "return user.with_events(self.events.first(list(self.rows).index(part) + 1))",
        "return user.with_events(self.events.first(1))",
        "tests/cli/test_retrieval_parts.py::test_the_event_of_validation_is_past_when_the_last_one_is_asked_for",
    ),
    Trap(
        "attention to padding",
        "models/matching/comirec_sa.py",
        "scores.masked_fill(~inside[:, :, None], torch.finfo(scores.dtype).min).softmax(dim=1)",
        "scores.softmax(dim=1)",
        CONTRACT + "test_match_model_keeps_the_contract[embeds_a_user_by_itself-comirec_sa-0]",
    ),
    Trap(
        "a mean over the padded length",
        "nn/rows.py",
        "mode=mode, include_last_offset=True",
        "mode='sum', include_last_offset=True",
        "tests/nn/test_embedding.py",
    ),
    Trap(
        "padding among the given negatives",
        "data/match.py",
        "        return places[places >= 0].astype(np.int32), np.bincount(rows, minlength=len(lengths))",
        "        return np.maximum(places, 0).astype(np.int32), lengths",
        "tests/data/test_match_rows.py::test_values_shown_and_not_chosen_are_places",
    ),
    Trap(
        "unknown items in the catalogue",
        "data/catalogue.py",
        "        if not known.all():",
        "        if False:",
        "tests/data/test_catalogue.py",
    ),
    # Towers
    Trap(
        "an item's vector that depends on its batch",
        "trainers/ranking.py",
        "        self.model.eval()\n",
        "        self.model.train()\n",
        RANKING + "test_the_model_is_left_as_it_was_and_items_follow_its_weights",
    ),
    # Evaluation
    Trap(
        "ties in favour of the target",
        "nn/ranks.py",
        "torch.ge(part, own[start:stop, None], out=higher)",
        "torch.gt(part, own[start:stop, None], out=higher)",
        "tests/metrics/test_retrieval_metrics.py::test_rank",
    ),
    Trap(
        "a model of NaNs that hits everything",
        "nn/search.py",
        "        return (users.float() @ items.T).nan_to_num_(LOWEST)",
        "        return users.float() @ items.T",
        RANKING + "test_a_model_of_nans_earns_nothing",
    ),
    Trap(
        "a sampled metric under the name of the full one",
        "trainers/ranking.py",
        'f"[{sampled[0][0]}{sampled[1]}]"',
        '""',
        RANKING + "test_a_sampled_metric_says_so_and_can_be_repeated",
    ),
    Trap(
        "seen items left out together with the row's own target",
        "trainers/ranking.py",
        "    scores[rows, places] = own\n",
        "",
        RANKING + "test_a_rows_own_target_is_not_left_out_but_all_else_that_was_seen_is",
    ),
    # Serving
    Trap(
        "an unused interest of zeros that wins",
        "nn/search.py",
        "    if unused.any():",
        "    if False:",
        "tests/nn/test_search.py::test_an_unused_interest_never_wins",
    ),
    Trap(
        "as many interests for a short history as for a long one",
        "models/matching/mind.py",
        "        if not self.dynamic:",
        "        if True:",
        "tests/models/test_multi_interest.py::test_mind_gives_a_short_history_fewer_interests",
    ),
    Trap(
        "routing that starts anew in every process",
        "models/matching/mind.py",
        'self.register_buffer("first_logits", torch.randn(interests, self.tower.max_len))',
        'self.register_buffer("first_logits", torch.randn(interests, self.tower.max_len), persistent=False)',
        "tests/models/test_multi_interest.py::test_routing_starts_from_the_same_weights_in_every_process",
    ),
    Trap(
        "an index of another metric than the model's",
        "data/ann.py",
        "_factory(kind), library.METRIC_INNER_PRODUCT)",
        "_factory(kind), library.METRIC_L2)",
        "tests/data/test_ann.py::test_an_index_finds_what_has_the_highest_inner_product",
    ),
    Trap(
        "an index whose missing answers have a score",
        "data/ann.py",
        "np.where(rows < 0, -np.inf, scores).astype(np.float32)",
        "scores.astype(np.float32)",
        "tests/data/test_ann.py::test_where_a_graph_finds_too_few_the_rest_is_minus_infinity",
    ),
    Trap(
        "vectors of another model taken for the run's",
        "workflows/retrieval.py",
        "    if (manifest.encoder, manifest.weights) != own:",
        "    if False:",
        "tests/serving/test_recommend.py::test_vectors_of_another_model_are_refused",
    ),
]


def survives(trap: Trap) -> bool:
    """Whether the test passes although the mistake is made."""
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "rechub_cli"
        shutil.copytree(ROOT / "rechub_cli", package, ignore=shutil.ignore_patterns("__pycache__"))
        file = package / trap.file
        file.write_text(file.read_text().replace(trap.right, trap.naive))
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", trap.test]
        environment = os.environ | {"PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # no such test, or it does not even start
        raise SystemExit(
            f"{trap.name}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.returncode == 0


def main(word: str = "") -> int:
    survived = 0
    for trap in TRAPS:
        if word not in f"{trap.name} {trap.file} {trap.test}":
            continue
        alive = survives(trap)
        survived += alive
        print(f"{'MISSED' if alive else 'caught'}  {trap.name}  ({trap.test})", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
