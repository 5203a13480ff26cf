"""The probability that a caption is right, from its log-probabilities: Platt scaling (1999). Free of torch.

A caption counts as right when its CIDEr against the image's references is above `Calibration.threshold`. The
estimate is p = σ(slope · m + words · n + agreement · a + domain · q + intercept), m the mean log-probability of its
words, n their number, a its agreement and q the probability of the photo's domain (both from `model.consensus`).
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Fit = Literal["greedy", "beam"]
Evidence = tuple[float, int, float, float]  # of a caption: m, n, a and q
FITS: Final[tuple[Fit, ...]] = ("greedy", "beam")

THRESHOLD: Final = 0.5  # of CIDEr, where 0.5 is the 50 of tables that give it × 100
RIDGE: Final = 1e-3  # keeps the fit finite where the classes can be told apart without error


@dataclass(frozen=True)
class Logistic:
    """The parameters of one fit."""

    slope: float
    words: float
    intercept: float
    agreement: float = 0.0
    domain: float = 0.0

    def __call__(self, mean_log_prob: float, words: int, agreement: float = 0.0, domain: float = 0.0) -> float:
        logit = self.slope * mean_log_prob + self.words * words + self.agreement * agreement + self.domain * domain
        return float(_sigmoid(np.float64(logit + self.intercept)))


@dataclass(frozen=True)
class Calibration:
    """The calibration of one decoder. Sampled captions use the greedy fit.

    It is stored in the decoder's checkpoint. One that reads agreement and domain is stored with the consensus.
    """

    threshold: float
    fits: Mapping[Fit, Logistic]

    def to_json(self) -> str:
        fits = {search: dataclasses.asdict(fit) for search, fit in self.fits.items()}
        return json.dumps({"threshold": self.threshold, "fits": fits}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for what is not a calibration with a greedy fit."""
        try:
            fields = json.loads(text)
            fits: dict[Fit, Logistic] = {
                search: Logistic(**fields["fits"][search]) for search in FITS if search in fields["fits"]
            }
            numbers = [fields["threshold"], *(number for fit in fits.values() for number in dataclasses.astuple(fit))]
            if "greedy" not in fits or not all(math.isfinite(number) for number in numbers):
                raise ValueError(f"a calibration needs a greedy fit and finite numbers: {text}")
            return cls(fields["threshold"], fits)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a calibration ({error!r}): {text}") from error

    def fit_of(self, search: Fit) -> Logistic:
        """The fit for captions of `search`; the greedy one where there is no other."""
        return self.fits.get(search, self.fits["greedy"])


def _sigmoid(x: npt.ArrayLike) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def logistic_regression(
    features: Floats, target: Floats, *, ridge: float = RIDGE, offset: Floats | float = 0.0
) -> tuple[Floats, float]:
    """Weights (P,) and intercept of maximum likelihood, by Newton's method.

    features: (N, P); target: (N,) in [0, 1]; offset: (N,), what is known of each logit. ridge: on the weights of
    standardised features, against the mean loss.
    """
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1.0
    design = np.column_stack([(features - centre) / scale, np.ones(len(features))])  # (N, P + 1)
    penalty = ridge * np.diag([*np.ones(features.shape[1]), 0.0])
    weights = np.zeros(design.shape[1])
    for _ in range(100):
        p = _sigmoid(design @ weights + offset)
        gradient = design.T @ (p - target) / len(target) + penalty @ weights
        curvature = (design.T * (p * (1 - p))) @ design / len(target) + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step / max(1.0, float(np.abs(step).max()))  # no leap over the flat parts
        if np.abs(step).max() < 1e-9:
            break
    found = weights[:-1] / scale
    return found, float(weights[-1] - centre @ found)


def fit_logistic(evidence: Sequence[Evidence], right: Sequence[bool], *, domain: float | None = 0.0) -> Logistic:
    """Maximum likelihood on Platt's smoothed targets.

    evidence, right: one of each per caption. domain: its weight, where that is known; None: it is fitted, too, which
    needs photos of both domains. Raises ValueError for unequal lengths or none.
    """
    features = np.array(evidence, float).reshape(-1, 4)  # (N, 4)
    positive = np.asarray(right, bool)
    if not len(positive) or len(positive) != len(features):
        raise ValueError(f"{len(positive)} outcomes for {len(features)} captions")
    hits, misses = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (hits + 1) / (hits + 2), 1 / (misses + 2))  # Platt (1999), section 2.2
    if domain is None:
        (slope, words, agreement, domain), intercept = logistic_regression(features, target)
    else:
        (slope, words, agreement), intercept = logistic_regression(
            features[:, :3], target, offset=domain * features[:, 3]
        )
    return Logistic(float(slope), float(words), intercept, float(agreement), float(domain))


def predict(fit: Logistic, evidence: Sequence[Evidence]) -> Floats:
    """The estimates of several captions, (N,)."""
    return np.array([fit(*each) for each in evidence])


def cross_validated(
    evidence: Sequence[Evidence], right: Sequence[bool], *, folds: int = 10, domain: float | None = 0.0
) -> Floats:
    """Each caption's estimate by a fit to the other folds, (N,). Caption i is in fold i mod `folds`."""
    estimates = np.empty(len(evidence))
    for fold in range(folds):
        kept = [place for place in range(len(evidence)) if place % folds != fold]
        fit = fit_logistic([evidence[place] for place in kept], [right[place] for place in kept], domain=domain)
        estimates[fold::folds] = predict(fit, evidence[fold::folds])
    return estimates


@dataclass(frozen=True)
class Bin:
    """Captions of similar estimates: their mean estimate, the share that is right, and how many they are."""

    estimate: float
    share: float
    count: int


def reliability(estimates: Floats, right: Sequence[bool], *, bins: int = 10) -> list[Bin]:
    """Captions in the order of their estimates, in bins of equal count."""
    order = np.argsort(estimates, kind="stable")
    positive = np.asarray(right, float)
    return [
        Bin(float(estimates[part].mean()), float(positive[part].mean()), len(part))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def calibration_error(estimates: Floats, right: Sequence[bool], *, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., 2015), over bins of equal count."""
    parts = reliability(estimates, right, bins=bins)
    return sum(part.count * abs(part.estimate - part.share) for part in parts) / len(estimates)


def chance_error(estimates: Floats, *, bins: int = 10, draws: int = 200) -> float:
    """The calibration error to expect of estimates that are exact, from so many captions by chance alone."""
    rng = np.random.default_rng(0)
    outcomes = rng.random((draws, len(estimates))) < estimates
    return float(np.mean([calibration_error(estimates, row.tolist(), bins=bins) for row in outcomes]))
