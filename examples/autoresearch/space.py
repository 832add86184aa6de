"""The space of ideas: data sets, models and their hyper-parameters, and how a new idea comes from an old one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

DATASETS: Final = ("digits", "breast_cancer")

MODELS: Final[dict[str, dict[str, list[Any]]]] = {
    "logistic": {
        "C": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
        "solver": ["lbfgs", "newton-cg", "liblinear", "saga"],
        "l1_ratio": [0.0, 0.5, 1.0],
        "max_iter": [20, 40, 80],
    },
    "sgd": {
        "loss": ["hinge", "log_loss", "modified_huber"],
        "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
        "learning_rate": ["optimal", "constant", "adaptive"],
        "eta0": [0.0, 1e-3, 1e-2, 1e-1],
    },
    "mlp": {
        "hidden": [[16], [32], [64], [128], [32, 16], [64, 32]],
        "learning_rate_init": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        "alpha": [1e-5, 1e-3, 1e-1],
        "activation": ["relu", "tanh"],
    },
    "forest": {
        "max_depth": [3, 5, 8, 12, None],
        "max_features": ["sqrt", "log2", 0.3],
        "min_samples_leaf": [1, 2, 5],
        "criterion": ["gini", "entropy"],
    },
    "svc": {
        "C": [0.1, 1.0, 3.0, 10.0, 30.0],
        "gamma": ["scale", 0.1, 0.3, 1.0, 3.0],
        "kernel": ["rbf", "poly", "sigmoid"],
    },
    "neighbours": {"n_neighbors": [1, 3, 5, 7, 9, 15, 25], "weights": ["uniform", "distance"], "p": [1, 2]},
}
"""Models and the values that each hyper-parameter may take; some combinations are refused by the library itself."""


@dataclass(frozen=True, slots=True)
class Idea:
    """One configuration that can be tried."""

    dataset: str
    model: str
    parameters: dict[str, Any]

    @property
    def digest(self) -> str:
        """The hash of the configuration: the same idea has the same, whoever has it."""
        text = json.dumps([self.dataset, self.model, self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def invent(chance: random.Random, dataset: str) -> Idea:
    """An idea out of nothing."""
    model = chance.choice(list(MODELS))
    return Idea(dataset, model, {name: chance.choice(values) for name, values in MODELS[model].items()})


def vary(chance: random.Random, idea: Idea) -> Idea:
    """An idea that differs from another one in one hyper-parameter."""
    name = chance.choice(list(idea.parameters))
    return Idea(idea.dataset, idea.model, idea.parameters | {name: chance.choice(MODELS[idea.model][name])})
