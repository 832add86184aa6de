"""Real trainings on the data sets that come with scikit-learn, reporting as they go."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure
    from space import Idea

EPOCHS: Final = 12
TREES: Final = range(5, 61, 5)
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Parts of the training set, for models that learn all at once: their curve is over the data, not over time."""


@dataclass(frozen=True, slots=True)
class Data:
    """A data set, split and scaled."""

    name: str
    train: Any
    train_labels: Any
    test: Any
    test_labels: Any
    classes: Any


@functools.cache
def load(name: str) -> Data:
    """A data set; the split is the same for everybody."""
    points, labels = {"digits": load_digits, "breast_cancer": load_breast_cancer}[name](return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        points, labels, test_size=0.3, stratify=labels, random_state=0
    )
    scaler = StandardScaler().fit(train)
    return Data(name, scaler.transform(train), train_labels, scaler.transform(test), test_labels, np.unique(labels))


def train(idea: Idea, data: Data, report: Callable[[int, dict[str, float]], None]) -> Any:
    """Train a model, reporting scores on the way; returns it. Raises ``ValueError`` for what the library refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = None
        for step, model in _steps(idea, data):
            scores = {
                "train": float(balanced_accuracy_score(data.train_labels, model.predict(data.train))),
                "score": float(balanced_accuracy_score(data.test_labels, model.predict(data.test))),
            }
            report(step, scores)
            if step > 3 and scores["train"] < 1.5 / len(data.classes):
                raise ValueError(f"diverged: {scores['train']:.3f} on its own training data at step {step}")
    return model


def _steps(idea: Idea, data: Data) -> Iterator[tuple[int, Any]]:
    wanted = idea.parameters
    match idea.model:
        case "sgd":
            yield from _epochs(SGDClassifier(random_state=0, **wanted), data)
        case "mlp":
            hidden = tuple(wanted["hidden"])
            rest = {name: value for name, value in wanted.items() if name != "hidden"}
            yield from _epochs(MLPClassifier(hidden, random_state=0, **rest), data)
        case "forest":
            forest = RandomForestClassifier(warm_start=True, random_state=0, **wanted)
            for trees in TREES:
                forest.n_estimators = trees
                yield trees, forest.fit(data.train, data.train_labels)
        case "logistic":
            yield from _shares(LogisticRegression(random_state=0, **wanted), data)
        case "svc":
            yield from _shares(SVC(random_state=0, **wanted), data)
        case "neighbours":
            yield from _shares(KNeighborsClassifier(**wanted), data)


def _epochs(model: Any, data: Data) -> Iterator[tuple[int, Any]]:
    for epoch in range(1, EPOCHS + 1):
        yield epoch, model.partial_fit(data.train, data.train_labels, classes=data.classes)


def _shares(model: Any, data: Data) -> Iterator[tuple[int, Any]]:
    order = np.random.default_rng(0).permutation(len(data.train))
    for share in SHARES:
        some = order[: int(share * len(order))]
        yield len(some), model.fit(data.train[some], data.train_labels[some])


def confusion(model: Any, data: Data) -> Figure:
    """The confusion matrix on the held-out data, drawn."""
    from matplotlib.figure import Figure

    counts = confusion_matrix(data.test_labels, model.predict(data.test))
    figure = Figure(figsize=(3.2, 3.2), dpi=80)
    axes = figure.subplots()
    axes.imshow(np.log1p(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", fontsize=6)
    axes.set_title(data.name)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
