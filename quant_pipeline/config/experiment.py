"""The experiment: timeframes, features, labels, splits, models, ensemble, calibration, champion and signal rules."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import time, timedelta
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote
from zoneinfo import available_timezones

import pydantic

from quant_pipeline.config.feature_sets import DEFAULT
from quant_pipeline.config.macro_series import unknown_series, wrong_hour, wrong_lag
from quant_pipeline.config.model import Duration, NonEmpty, Settings, Timeframe, read_yaml
from quant_pipeline.config.selection import SelectionSettings
from quant_pipeline.config.timeframes import LADDER, duration
from quant_pipeline.config.zones import is_zone
from quant_pipeline.errors import ConfigError

EXPERIMENTS = Path(__file__).with_name("experiments")
HOLDOUT = "holdout"
CENTURY = 36_500
"""Most days that a setting may name."""
_LONGEST_NAME = 200
_MOST_BARS = 100_000  # 11 years of hours: no longer span of bars is looked at for one value
FEWEST_GROUPS = 3
"""Of a combinatorial scheme: of two, each pair is everything."""


def _in_order(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Sorted by key, so that the order in a file changes no hash."""
    return dict(sorted(params.items()))


class FeatureSettings(Settings):
    """Which feature families are built, and the rolling z-score of the scale-dependent ones (in bars).

    `coarse` rungs serve only the features that name them (timeframe alignment). A correlated symbol's bar older than
    `others_max_age` counts as absent.
    """

    families: tuple[str, ...]
    coarse: tuple[Timeframe, ...] = ()
    others_max_age: Duration = timedelta(days=4)
    zscore_window: int = pydantic.Field(default=500, ge=2, le=_MOST_BARS)
    zscore_min_periods: int = pydantic.Field(default=50, ge=2)

    @pydantic.model_validator(mode="after")
    def _periods_fit_the_window(self) -> Self:
        if self.zscore_min_periods > self.zscore_window:
            message = f"zscore_min_periods ({self.zscore_min_periods}) at most zscore_window ({self.zscore_window})"
            raise ValueError(message)
        return self


class LabelSettings(Settings):
    """Triple barrier: multiples of ATR, horizon in primary bars, one path (`long`) or two (`two_sided`)."""

    tp_atr: float = pydantic.Field(default=2.0, gt=0, le=20)
    sl_atr: float = pydantic.Field(default=1.5, gt=0, le=20)
    max_bars: int = pydantic.Field(default=5, ge=1, le=1_000)
    atr_period: int = pydantic.Field(default=14, ge=1, le=1_000)
    side: Literal["long", "two_sided"] = "two_sided"
    tune_trials: int = pydantic.Field(default=0, ge=0, le=10_000)


class WeightSettings(Settings):
    """Which sample weights multiply: label quality (0.5 to 1.5) and average uniqueness."""

    quality: bool = True
    uniqueness: bool = True


class SplitSettings(Settings):
    """Fold scheme. Shares are of the rows; `embargo` is a duration after each out-of-fold block's neighbours."""

    scheme: Literal["expanding", "rolling", "purged_kfold", "combinatorial"] = "expanding"
    folds: int = pydantic.Field(default=5, ge=2, le=50)
    first_train: float = pydantic.Field(default=0.4, gt=0, lt=1)
    test: float = pydantic.Field(default=0.15, ge=0.02, lt=0.5)
    inner_valid: float = pydantic.Field(default=0.15, gt=0, lt=0.5)
    embargo: Duration = timedelta(hours=5)

    @property
    def groups(self) -> int:
        """Groups N of rows of which scheme `combinatorial` leaves out every pair once: N (N - 1) / 2 folds."""
        return (1 + isqrt(1 + 8 * self.folds)) // 2

    @property
    def walk_forward(self) -> bool:
        """Whether every row is forecast by models that saw only its past, so that the record could have been traded."""
        return self.scheme in {"expanding", "rolling"}

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Partition keys: `fold_00` …, then `holdout`, whose block is the final test span."""
        return (*(f"fold_{index:02d}" for index in range(self.folds)), HOLDOUT)

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scheme == "combinatorial" and (self.groups * (self.groups - 1) != 2 * self.folds or self.groups < FEWEST_GROUPS):
            found = f"folds: {self.folds} is none of these"
            raise ValueError(f"3, 6, 10, 15, 21 … folds, pairs of groups, for scheme combinatorial; {found}, 6 makes 4 groups")
        if self.walk_forward and self.first_train + self.test >= 1:
            total = self.first_train + self.test
            raise ValueError(f"first_train + test below 1, the rest being the folds, not {total:g}; lower one of them")
        return self


class NewsSettings(Settings):
    """How news is read: `encoder` is finbert, minilm or a local folder; a headline is known `delay` after publication.

    `timezone` is that of times in a news file that carry none, such as America/New_York.
    """

    encoder: NonEmpty = "minilm"
    delay: Annotated[Duration, pydantic.Field(ge=timedelta(0))] = timedelta(minutes=1)
    timezone: str | None = None

    @pydantic.field_validator("timezone")
    @classmethod
    def _zone(cls, timezone: str | None) -> str | None:
        if timezone is not None and not is_zone(timezone):
            near = difflib.get_close_matches(timezone, available_timezones(), n=1) or ["America/New_York"]
            message = f"a zone of the tz database such as {near[0]}"
            raise ValueError(message)
        return timezone


class MacroSettings(Settings):
    """How macro series are read, by series: `lag_days` after the period, for files that tell no release dates; `hours` of
    release on New York's clock, where the end of the day is too late.

    A lag must be longer than the longest delay on record (`config/macro_series.py`), and stands for the first figure only:
    a file without release dates holds revised ones. Files with `released_at` (vintages, as ALFRED has them) need neither.
    """

    lag_days: Mapping[str, int] = pydantic.Field(default_factory=dict)
    hours: Mapping[str, time] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        against = (
            *(wrong_lag(series, days) or unknown_series(series) for series, days in self.lag_days.items()),
            *(wrong_hour(series, at) or unknown_series(series) for series, at in self.hours.items()),
        )
        wrong = [why for why in against if why is not None]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class FoundationSettings(Settings):
    """Chronos-Bolt embeddings of the last `context` primary closes: a local folder or hub id, or null for none."""

    model: NonEmpty | None = None
    context: int = pydantic.Field(default=512, ge=16, le=8_192)
    horizon: int = pydantic.Field(default=5, ge=1, le=64)


class ModelSettings(Settings):
    """One base model: a registry name, its parameters (validated by that model's own class), and its feature set."""

    name: str
    feature_set: str = DEFAULT
    params: Annotated[Mapping[str, Any], pydantic.AfterValidator(_in_order)] = pydantic.Field(default_factory=dict)


class EnsembleSettings(Settings):
    """The meta-learner on out-of-fold rows; `alpha` is its L2 strength (document 002 asks for 0.1 or more)."""

    meta: Literal["logistic", "ridge"] = "logistic"
    alpha: float = pydantic.Field(default=1.0, ge=0.1)


class CalibrationSettings(Settings):
    """Calibrators that compete on out-of-sample log-loss."""

    methods: tuple[Literal["none", "temperature", "isotonic"], ...] = pydantic.Field(
        default=("none", "temperature", "isotonic"), min_length=1
    )


class ChampionSettings(Settings):
    """When a challenger goes live: better by `min_improvement` of `metric`, or the champion is older than the age.

    Without `auto` never by itself: the experiment trains and reports, and `quant promote` chooses.
    """

    auto: bool = True
    metric: Literal["log_loss", "brier"] = "log_loss"
    min_improvement: float = pydantic.Field(default=0.0, ge=0)
    max_age_days: int = pydantic.Field(default=30, ge=1, le=CENTURY)


class SignalSettings(Settings):
    """What turns probabilities into an action.

    `max_staleness` is the session time by which the newest minute may close before the decision; what is older, a feed that
    is late or a file that ended, gives no signal but `stale`. Of 18,000 hours of futures, thin ones and nights among them,
    in 99.8 % the last minute was within five.

    `min_confidence` is the least P(long) or P(short) that is acted on (document 000, section 4.1). With three classes
    the larger side may well be the most probable at 0.4; 0 leaves the choice to the expected returns alone.
    `alert` sends every signal, or only those that say buy or sell (`actionable`).
    """

    min_confidence: float = pydantic.Field(default=0.55, ge=0, lt=1)
    max_staleness: Duration = timedelta(minutes=5)
    fallback: str = "logistic"
    alert: Literal["all", "actionable"] = "all"


class DriftSettings(Settings):
    """Drift alarm: a feature drifts past `psi` or `wasserstein`; retrain when `share` of them do, once per `cooldown`."""

    psi: float = pydantic.Field(default=0.25, gt=0)
    wasserstein: float = pydantic.Field(default=0.5, gt=0)
    share: float = pydantic.Field(default=0.45, gt=0, le=1)
    recent_bars: int = pydantic.Field(default=500, ge=50, le=_MOST_BARS)
    cooldown: Duration = timedelta(hours=24)


class SimulatedSettings(Settings):
    """The simulated profile's market: its seed, what can be known from bars, news and macro releases, or nothing at all.

    The effects are information coefficients of the best forecast from that input alone; `no_signal` makes them all 0.
    """

    seed: int = pydantic.Field(default=7, ge=0, lt=2**31)
    no_signal: bool = False
    signal: float = pydantic.Field(default=0.30, ge=0, lt=1)
    news_effect: float = pydantic.Field(default=0.06, ge=0, lt=1)
    macro_effect: float = pydantic.Field(default=0.04, ge=0, lt=1)


class Experiment(Settings):
    """Everything that decides what is trained and how; two equal experiments on equal data give equal bytes."""

    name: str = pydantic.Field(min_length=1, max_length=100, pattern=r"^[^./\\\x00-\x1f][^\x00-\x1f]*$")  # it names a folder
    seed: int = pydantic.Field(default=7, ge=0, lt=2**31)
    primary: Timeframe = "1h"
    ladder: tuple[Timeframe, ...] = LADDER
    history_days: int | None = pydantic.Field(default=365, ge=7, le=CENTURY)
    regime_states: int = pydantic.Field(default=3, ge=2, le=8)
    simulated: SimulatedSettings = SimulatedSettings()
    features: FeatureSettings
    news: NewsSettings = NewsSettings()
    macro: MacroSettings = MacroSettings()
    foundation: FoundationSettings = FoundationSettings()
    labels: LabelSettings = LabelSettings()
    weights: WeightSettings = WeightSettings()
    selection: SelectionSettings = SelectionSettings()
    splits: SplitSettings = SplitSettings()
    models: tuple[ModelSettings, ...] = pydantic.Field(min_length=1)
    ensemble: EnsembleSettings = EnsembleSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    champion: ChampionSettings = ChampionSettings()
    signal: SignalSettings = SignalSettings()
    drift: DriftSettings = DriftSettings()

    @pydantic.field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        if len(quote(name)) > _LONGEST_NAME:
            message = f"a name of at most {_LONGEST_NAME} characters when it is written as a folder's, {quote(name)[:20]}…"
            raise ValueError(message)
        return name

    @property
    def rungs(self) -> tuple[Timeframe, ...]:
        """Every rung whose bars are made: the ladder, then the coarse ones."""
        return (*self.ladder, *self.features.coarse)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [model.name for model in self.models]
        coarse, families = self.features.coarse, self.features.families
        problems = {
            "features.families names a family, or foundation.model a model": not families and not self.foundation.model,
            "features.families names each family once": len(set(families)) < len(families),
            "calibration.methods names each method once": len(set(methods := self.calibration.methods)) < len(methods),
            "features.coarse names no rung of ladder": not set(coarse).isdisjoint(self.ladder),
            "ladder and features.coarse name each rung once (60m is 1h)": len({*map(duration, self.rungs)}) < len(self.rungs),
            f"primary {self.primary} stands in ladder {list(self.ladder)}": self.primary not in self.ladder,
            "ladder starts with 1m, the raw bars": "1m" not in self.ladder,
            f"models are named once each, not {names}": len(set(names)) != len(names),
            f"signal.fallback {self.signal.fallback!r} is one of models {names}": self.signal.fallback not in names,
        }
        wrong = [wanted for wanted, broken in problems.items() if broken]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def experiment_path(name: str) -> Path:
    """Path of an experiment given by name or by path; raises `ConfigError` naming the nearest one."""
    given = Path(name)
    if given.suffix in {".yaml", ".yml"}:
        return given
    known = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
    if name in known:
        return EXPERIMENTS / f"{name}.yaml"
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"experiment {name!r}",
        found="no such file",
        wanted=f"a path to a .yaml file or one of {', '.join(known)}",
        mend=f"did you mean {near[0]!r}?" if near else f"copy {EXPERIMENTS / 'default.yaml'} and pass its path",
    )


def load_experiment(name: str | None = None) -> Experiment:
    """Read and validate the experiment `name`, else `QUANT_EXPERIMENT`, else `default`."""
    path = experiment_path(name or os.environ.get("QUANT_EXPERIMENT", "default"))
    return Experiment.parse({"name": path.stem, **read_yaml(path)}, str(path))
