"""A bundle: everything that one symbol's forecast needs, in one sealed folder whose every byte is checked at load."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydantic

from quant_pipeline.config.model import Settings
from quant_pipeline.ensemble.meta import MetaLearner
from quant_pipeline.errors import BundleError, QuantError
from quant_pipeline.files import read_parquet, replacing, sha256, write_json, write_parquet
from quant_pipeline.models.contract import PROBABILITIES, Floats, Model, Prediction
from quant_pipeline.models.folder import seal, unseal
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.models.probabilities import floored, up_probability
from quant_pipeline.models.registry import load_model
from quant_pipeline.views.feature_matrix import FeatureMatrix, schema_hash

MANIFEST, META, REFERENCE, MODELS = "manifest.json", "meta.json", "reference.parquet", "models"
FORMAT = 3
PRIORS = "class_priors"
# xgboost installs under either name
LIBRARIES = ("quant_pipeline", "numpy", "polars", "scipy", "scikit-learn", "lightgbm", "xgboost", "xgboost-cpu", "safetensors")


class BundleFacts(Settings):
    """What the maker of a bundle states about it.

    Attributes:
        symbol: the symbol it forecasts.
        version: semantic version: major changes with the meaning of the forecast, minor with its ingredients.
        experiment, experiment_hash: name and hash of the settings that made it.
        data_fingerprint: content hash of the raw bars that it was trained on.
        inputs_hash: of the settings that shape features (`window.inputs_hash`); other settings are refused at inference.
        training_start, training_end: first and last `decision_at` of the base models' training rows (UTC).
        learned_until: first decision of its test span: it learned from rows before, and from none since.
        as_of: the training cutoff; stands in for a creation time, so that equal inputs give equal bytes.
        fallback: base model that answers alone when another part fails.
        metrics: figures of the skill report, JSON values.
    """

    symbol: str
    version: str = pydantic.Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    experiment: str
    experiment_hash: str
    data_fingerprint: str
    inputs_hash: str = ""
    training_start: pydantic.AwareDatetime
    training_end: pydantic.AwareDatetime
    learned_until: pydantic.AwareDatetime
    as_of: pydantic.AwareDatetime
    fallback: str
    metrics: dict[str, Any] = pydantic.Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A loaded bundle.

    Attributes:
        id: twelve hex digits of the manifest's hash; another byte anywhere is another id.
        facts: what its maker stated.
        columns: features, in the order of training; `predict` takes them by name.
        models: base models by name, in the order of the meta-learner.
        meta: stack, calibrator and payoffs.
        preparation: what the training fold made of the features before its models saw them.
        reference: order statistics of the training features (`views/reference.py`), for drift.
        manifest: the whole manifest, for display.
        broken: models that did not open here (a library is absent, say), with the reason; the fallback answers.
    """

    id: str
    facts: BundleFacts
    columns: tuple[str, ...]
    models: Mapping[str, Model[FeatureMatrix]]
    meta: MetaLearner
    preparation: Preparation
    reference: pl.DataFrame
    manifest: dict[str, Any]
    broken: Mapping[str, str]

    def prepared(self, features: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
        """FEATURES as this bundle's models want them; `bars` are those of the primary rung."""
        return self.preparation.table(features, bars)

    def predict(self, view: FeatureMatrix) -> pl.DataFrame:
        """Forecast every row; a batch of one equals that row in a batch of many.

        Args:
            view: features as known at each `decision_at`; columns are taken by name.

        Returns:
            decision_at, p_short, p_neutral, p_long, p_up, e_r (gross), e_long and e_short (net of costs), fallback
            (null, or the name of the model that answered alone, or `class_priors`), problems (null, or what failed).

        Raises:
            DataError: a feature that the bundle was trained on is absent. That is no failure of a part: without it
                the caller asks about something else.
        """
        p, fallback, problems = self._probabilities(view.select(self.columns))
        e_r, e_long, e_short = self.meta.payoffs.expected(p)
        return pl.DataFrame({"decision_at": view.decision_at}).with_columns(
            **{name: pl.Series(p[:, k]) for k, name in enumerate(PROBABILITIES)},
            p_up=pl.Series(up_probability(p)),
            e_r=pl.Series(e_r),
            e_long=pl.Series(e_long),
            e_short=pl.Series(e_short),
            fallback=pl.lit(fallback, dtype=pl.String),
            problems=pl.lit("; ".join(problems) or None, dtype=pl.String),
        )

    def _probabilities(self, view: FeatureMatrix) -> tuple[Floats, str | None, list[str]]:
        answers, problems = self._base(view)
        if len(answers) == len(self.meta.models):
            try:
                p = self.meta.combine(np.stack([answers[name].probabilities for name in self.meta.models], axis=1))
                _demand_distributions(p)
            except Exception as error:  # noqa: BLE001 - whatever fails, an hour must not pass without a forecast
                problems.append(f"meta-learner: {_said(error)}")
            else:
                return p, None, problems
        for name in (self.facts.fallback, *self.meta.models):
            if name in answers:
                return answers[name].probabilities, name, problems
        priors = floored(np.array([self.meta.payoffs.shares]))
        return np.repeat(priors, len(view), axis=0), PRIORS, problems

    def _base(self, view: FeatureMatrix) -> tuple[dict[str, Prediction], list[str]]:
        answers, problems = {}, [f"{name}: {reason}" for name, reason in self.broken.items()]
        for name, model in self.models.items():
            try:
                answers[name] = model.predict(view)
            except Exception as error:  # noqa: BLE001 - whatever fails, the other models still answer
                problems.append(f"{name}: {_said(error)}")
        return answers, problems


def save_bundle(
    folder: Path,
    models: Mapping[str, Model[FeatureMatrix]],
    meta: MetaLearner,
    preparation: Preparation,
    reference: pl.DataFrame,
    facts: BundleFacts,
) -> str:
    """Write a bundle, whole or not at all, and return its id. Equal parts give equal bytes.

    Args:
        folder: an older bundle there is replaced.
        models: fitted base models, at least those of the meta-learner.
        meta: the fitted meta-learner.
        preparation: of the fold that trained the models.
        reference: `feature_reference` of the training rows; its columns are the bundle's columns, all that a model reads.
        facts: where it comes from.

    Raises:
        BundleError: parts that do not belong together.
        StorageError: a disk that is full; nothing half-written stays.
    """
    columns = tuple(reference.columns)
    _demand_fitting(models, meta, columns, facts)
    with replacing(folder) as temporary:
        for name in meta.models:
            models[name].save(temporary / MODELS / name)
        write_json(temporary / META, meta.to_dict())
        preparation.save(temporary)
        write_parquet(temporary / REFERENCE, reference)
        seal(temporary, MANIFEST, {
            **facts.model_dump(mode="json"), "format": FORMAT, "models": list(meta.models), "columns": list(columns),
            "schema_hash": schema_hash(columns), "libraries": _libraries(),
        })  # fmt: skip
    return bundle_id(folder)


def verify_bundle(folder: Path) -> dict[str, Any]:
    """Check every byte of a bundle and return its manifest; raises `BundleError` naming the changed, missing or extra file."""
    manifest = unseal(folder, MANIFEST)
    if manifest.get("format") != FORMAT:
        raise BundleError(str(folder / MANIFEST), found=f"format {manifest.get('format')}", wanted=f"format {FORMAT}",
                          mend="train again with this version")  # fmt: skip
    return manifest


def bundle_id(folder: Path) -> str:
    """Twelve hex digits of the manifest's hash, without checking the other files."""
    return sha256(folder / MANIFEST)[:12]


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle after checking every byte of it; raises `BundleError` naming the changed, missing or extra file."""
    manifest = verify_bundle(folder)
    facts = BundleFacts.parse({key: manifest[key] for key in BundleFacts.model_fields if key in manifest}, str(folder / MANIFEST))
    models: dict[str, Model[FeatureMatrix]] = {}
    broken: dict[str, str] = {}
    for name in manifest["models"]:
        try:
            models[name] = load_model(folder / MODELS / name)
        except (ImportError, QuantError) as error:
            # the bytes are right, so it is this machine that lacks something; the fallback can still answer
            broken[name] = _said(error)
    meta = MetaLearner.from_dict(json.loads((folder / META).read_text(encoding="utf-8")))
    reference = read_parquet(folder / REFERENCE, "restore the bundle from a backup, or train again")
    return Bundle(
        bundle_id(folder), facts, tuple(manifest["columns"]), models, meta, Preparation.load(folder), reference, manifest, broken
    )


def _demand_fitting(
    models: Mapping[str, Model[FeatureMatrix]], meta: MetaLearner, columns: tuple[str, ...], facts: BundleFacts
) -> None:
    absent = [name for name in (*meta.models, facts.fallback) if name not in models]
    if absent:
        _refuse(
            facts,
            f"no model {', '.join(absent)}",
            f"{', '.join(meta.models)} and the fallback",
            "train every model of the experiment",
        )
    if facts.fallback not in meta.models:
        _refuse(facts, f"fallback {facts.fallback!r}", f"one of {', '.join(meta.models)}", "set signal.fallback to a base model")
    other = [name for name in meta.models if not set(getattr(models[name], "columns", columns)) <= set(columns)]
    if other:
        _refuse(
            facts,
            f"columns of {', '.join(other)} that the reference lacks",
            "a reference with every column that a model reads",
            "build the reference from the models' columns",
        )


def _refuse(facts: BundleFacts, found: str, wanted: str, mend: str) -> None:
    raise BundleError(f"bundle of {facts.symbol}", found=found, wanted=wanted, mend=mend)


def _demand_distributions(p: Floats) -> None:
    if not (np.isfinite(p).all() and (p >= 0).all()):
        raise BundleError("combined probabilities", found="a NaN or a negative", wanted="probabilities", mend="train again")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _libraries() -> dict[str, str]:
    installed = {found.metadata["Name"].lower(): found.version for found in map(_distribution, LIBRARIES) if found}
    return {"python": platform.python_version(), **installed}


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
