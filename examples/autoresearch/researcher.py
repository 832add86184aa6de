"""One researcher: has ideas, claims them by their hash so that none is tried twice, tries them and tells the others."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # six processes share the machine: one thread each

import joblib
from space import DATASETS, Idea, invent, vary
from training import confusion, load, train

import tracecraft

DOLLARS_PER_CPU_HOUR: Final = 0.05
CURIOSITY: Final = 0.35
"""How often an idea comes out of nothing although a good one is known."""


def main(agent: str, trials: int) -> None:
    """Try ideas until so many have been tried by all."""
    chance = random.Random(agent)
    session = tracecraft.init(agent=agent)
    with session:
        while session.memory.incr("trials.begun") <= trials:
            next_idea(session, chance)
    print(f"{agent} has finished", flush=True)


def next_idea(session: tracecraft.Session, chance: random.Random) -> None:
    """Claim an idea that nobody has had, and try it."""
    while True:
        idea = imagine(session, chance)
        try:
            with session.claim(f"idea.{idea.digest}") as claim:
                attempt(session, claim, idea)
                return
        except (tracecraft.TaskSettled, tracecraft.TaskHeld):
            session.memory.incr("trials.already_tried")


def imagine(session: tracecraft.Session, chance: random.Random) -> Idea:
    """Vary the best that is known, or invent something."""
    dataset = chance.choice(DATASETS)
    best = session.memory.get(f"best.{dataset}")
    if best is None or chance.random() < CURIOSITY:
        return invent(chance, dataset)
    return vary(chance, Idea(dataset, best["model"], best["parameters"]))


def attempt(session: tracecraft.Session, claim: tracecraft.Claim, idea: Idea) -> None:
    """One run: train, judge, keep what came of it. An idea that fails is kept too, with the reason."""
    tags = {"dataset": idea.dataset, "idea": idea.digest}
    began = time.process_time()
    try:
        with tracecraft.run(idea.model, params=idea.parameters, tags=tags) as run:
            try:
                score = trial(session, run, idea)
            finally:
                seconds = time.process_time() - began
                run.log_usage(provider="this-machine", model="cpu", cost=seconds / 3600 * DOLLARS_PER_CPU_HOUR)
                run.log_metric("cpu_seconds", seconds)
    except ValueError as refusal:
        reason = f"{type(refusal).__name__}: {str(refusal).splitlines()[0]}"
        claim.hand_off(reason, result={"run": run.id, "failed": True})  # the idea has been tried: nobody need try again
        return
    best = {"score": score, "run": run.id, "model": idea.model, "parameters": idea.parameters, "by": session.agent}
    if session.memory.set_if_better(f"best.{idea.dataset}", best, by="score"):
        session.broadcast(f"{idea.dataset}: {idea.model} reaches {score:.4f}", kind="finding", data={"run": run.id})
    claim.hand_off(f"score {score:.4f}", result={"run": run.id, "score": score})


def trial(session: tracecraft.Session, run: tracecraft.Run, idea: Idea) -> float:
    """Train, evaluate and keep the files of one run; returns the score on held-out data."""
    with run.agent(session.agent, model=idea.model, role="researcher") as agent:
        with agent.step("load", kind="retrieval") as step:
            data = load(idea.dataset)
            step.log_output({"train": len(data.train), "test": len(data.test), "classes": len(data.classes)})
        scores: list[float] = []

        def report(at: int, values: dict[str, float]) -> None:
            scores.append(values["score"])
            run.log_metrics(values, step=at)

        with agent.step("train", kind="task") as step:
            step.log_input({"model": idea.model, **idea.parameters})
            model = train(idea, data, report)
            step.log_output({"scores": [round(score, 4) for score in scores]})
        with agent.step("keep", kind="task"):
            with tempfile.TemporaryDirectory() as folder:
                joblib.dump(model, Path(folder) / "model.joblib", compress=3)
                run.log_artifact(Path(folder) / "model.joblib", kind="model")
            run.log_image("confusion.png", confusion(model, data))
    return scores[-1]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
