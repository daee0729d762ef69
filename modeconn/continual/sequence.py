"""Training on one task after the other: the steps, the checkpoints, the score matrix."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.continual.run import Run
from modeconn.continual.scores import SCORE_COLUMNS, check_score
from modeconn.continual.share import parted, shares
from modeconn.continual.state import TrainState, load_state, save_state
from modeconn.continual.task_work import TaskWork
from modeconn.continual.tracking import tracked
from modeconn.models.encoded import EncodedTask, ExampleSums
from modeconn.runs import RunFolder

Progress = Callable[[int, int, str], None]


class TaskSequence:
    """One run of tasks in sequence; of several processes each reads a part of every batch, and all step alike.

    Args:
        folder: The run folder, opened.
        run: Model, learner and tasks.
        names: The folders of the checkpoints.
        progress: Called after every step.
    """

    def __init__(self, folder: RunFolder, run: Run, names: Sequence[str], progress: Progress | None) -> None:
        self.folder, self.run, self.names, self.progress = folder, run, names, progress
        self.method = run.settings.made_method().start(run)
        self.after = [stage[-1] for stage in self.method.stages(len(run.eval_sets))]  # tasks, at each checkpoint

    def train(self) -> None:
        """Train task after task; leaves checkpoints, the score matrix and the losses in the folder."""
        settings = self.run.settings
        names = settings.report_to if self.run.processes.is_main else ()
        with tracked(names, self.folder.folder, settings.recorded()) as self.trackers:
            self._train()

    def _train(self) -> None:
        """The same, followed by trackers."""
        state = self.run.processes.from_main(lambda: load_state(self.folder))
        if state is None:
            state = TrainState(scores=self._score_rows(0, self.run.scores(self.run.eval_sets)))
        else:
            self.run.load(state.weights)
            self.method.restore(state.method)
        while state.task <= len(self.names):
            if not state.trained:
                self._train_task(state)
                self._save_checkpoints(self.names[state.task - 1])
                state.trained, state.within = True, {}
                self._keep(state)
            rows = self._score_rows(self.after[state.task - 1], self._scores(state.task))
            self.trackers.log({f"{metric}/{task}": score for *_, task, metric, score in rows}, len(state.log))
            state.scores += rows
            state.task, state.step, state.trained = state.task + 1, 0, False
            self._keep(state)
        self.run.processes.from_main(lambda: self._write(state))

    def _train_task(self, state: TrainState) -> None:
        """All steps of a task that are left: a fresh optimiser and schedule, and seeds that only the task decides."""
        work = TaskWork(self.run, state.task)
        if state.within:
            work.restore(state.within)
        else:
            self.method.start_task(state.task)
        self.run.learner.module.train()
        while (rows := work.rows(state.step)) is not None:
            parts = self.step(work, rows)
            state.step += 1
            work.check_step(parts, state.step)
            numbers = {**parts, "learning_rate": work.rate}
            state.log.append({"task": work.data.task, "step": state.step, **numbers})
            self.trackers.log(numbers, len(state.log))
            work.end_step(state.step, self.method)
            if self.progress:
                what = f"task {state.task} of {len(self.names)}: {work.data.task}"
                self.progress(state.step, work.num_steps, what)
            if self.run.settings.save_steps and state.step % self.run.settings.save_steps == 0:
                state.within = work.state()
                self._keep(state)
        self.run.learner.module.eval()
        work.take_best(self.method)
        work.check_end(state.step)
        self.method.end_task(state.task)

    def step(self, work: TaskWork, rows: Sequence[int]) -> dict[str, float]:
        """One step of the optimiser on rows of a task, and what the method adds; returns the parts of the loss."""
        self.method.start_step(rows)
        parts = self.run.processes.gathered(lambda: self._backward(work.data, rows))
        self._add_gradients()
        self.method.adjust_gradients()
        work.update()
        self.method.after_step()
        names = dict.fromkeys(name for one in parts for name in one)
        return {name: sum(one.get(name, 0.0) for one in parts) for name in names}

    def _backward(self, data: EncodedTask, rows: Sequence[int]) -> dict[str, float]:
        """This process's part of a step's gradients: nats per token over all its batches, and every penalty once."""
        settings, processes = self.run.settings, self.run.processes
        groups = [[(data, row) for row in rows], list(self.method.replayed())]
        tokens = sum(len(split.rows.rows[row].targets) for group in groups for split, row in group)
        parts: dict[str, float] = {"loss": 0.0}
        for replayed, group in enumerate(groups):
            pieces = parted(
                group,
                size=settings.per_device_train_batch_size,
                count=processes.count,
                cost=lambda one: self.run.family.length(one[0].rows.rows[one[1]]),
                budget=settings.train_token_budget,
            )
            batches = [self.run.batch(piece) for piece in pieces]
            for number, (batch, share) in enumerate(zip(batches, shares(batches), strict=True)):
                if number % processes.count != processes.index:
                    continue
                with self.run.autocast():
                    logits = self.run.logits(batch)
                    loss = self.run.losses(batch, logits).sum() / tokens
                    penalty = self.method.batch_penalty(batch, logits, replayed=bool(replayed), share=share)
                (loss if penalty is None else loss + penalty).backward()
                parts["loss"] += loss.item()
                if penalty is not None:
                    parts["penalty"] = parts.get("penalty", 0.0) + penalty.item()
        penalty = self.method.weight_penalty() if processes.is_main else None
        if penalty is not None:
            penalty.backward()
            parts["weight_penalty"] = penalty.item()
        return parts

    def _add_gradients(self) -> None:
        """The gradients of all processes in each: their sum, in one order, so that all have the same bits."""
        processes = self.run.processes
        if processes.count == 1:
            return
        weights = list(self.run.learner.weights.values())
        found = processes.gathered(lambda: [weight.grad is not None for weight in weights])
        reached = [weight for weight, *one in zip(weights, *found, strict=True) if any(one)]
        for weight in reached:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for weight, total in zip(reached, processes.summed([weight.grad for weight in reached]), strict=True):
            weight.grad.copy_(total)

    def _save_checkpoints(self, name: str) -> None:
        """The method's result under the task's name, and what else it has beside it."""
        results = {"": self.method.result(), **self.method.others()}

        def save() -> None:
            for suffix, result in results.items():
                with self.folder.replacing(f"{name}-{suffix}" if suffix else name) as temporary:
                    self.run.save(result, temporary)

        self.run.processes.from_main(save)

    def _scores(self, newest: int) -> list[ExampleSums]:
        """Every task at the checkpoint that answers it, once there are `newest` of them."""
        splits = self.run.eval_sets
        serving = [self.method.checkpoint_for(task, newest) for task in range(1, len(splits) + 1)]
        sums: dict[int, ExampleSums] = {}
        for number in sorted(set(serving)):
            point = Adapter.from_pretrained(self.folder.folder / self.names[number - 1])
            tasks = [task for task, by in enumerate(serving) if by == number]
            found = self.run.model.evaluate(point, [splits[task] for task in tasks], self.run.processes.share)
            sums |= dict(zip(tasks, found, strict=True))
        return [sums[task] for task in range(len(splits))]

    def _write(self, state: TrainState) -> None:
        """The tables of a run that is done."""
        self.folder.write_text("".join(f"{json.dumps(one)}\n" for one in state.log), "losses.jsonl")
        self.folder.record(**self.method.facts())
        self.folder.write_csv(pd.DataFrame(state.scores, columns=SCORE_COLUMNS), "scores.csv")

    def _keep(self, state: TrainState) -> None:
        """Keep the state as it is now."""
        state.weights, state.method = self.run.weights(), self.method.state()
        self.run.processes.from_main(lambda: save_state(self.folder, state))

    def _score_rows(self, after_task: int, scored: Sequence[ExampleSums]) -> list[tuple[Any, ...]]:
        """Rows of the score matrix."""
        settings, rows = self.run.settings, []
        prefix = (settings.method, settings.adapter, settings.seed, after_task)
        for split, sums in zip(self.run.eval_sets, scored, strict=True):
            rows.append((*prefix, split.task, split.metric, float(sums.score.mean())))
            loss = float(sums.loss_sum.sum() / sums.num_tokens.sum())
            check_score(loss, split.task, after_task)
            rows.append((*prefix, split.task, "loss", loss))
        return rows
