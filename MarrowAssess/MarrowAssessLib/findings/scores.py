"""A trained score for the patient of a study, measured as the cohort of its training was."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.prediction.patient_score import PatientScore, predictors, scored
from MarrowAssessLib.prediction.score_file import Score
from MarrowAssessLib.study.study import Study
from MarrowAssessLib.texture.feature import ORIGINAL, OVER
from MarrowAssessLib.texture.table import radiomics_rows


def score_of_study(
    score: Score, study: Study, corrected: Mapping[Contrast, Volume] | None = None
) -> PatientScore:
    """A score of the study's own regions and images, measured as `marrowassess radiomics` does.

    Args:
        score: with predictors of one image role and more.
        study: its regions that may be another structure are left out; age and sex are given.
        corrected: images that were corrected by N4.

    Raises:
        ValueError: no region of the tissue is there, predictors are of Laws or Gabor filters, or of
            other filtered images and PyWavelets is not installed, or see `scored`.
    """
    corrected = corrected or {}
    names = predictors(score)
    if any("_Laws" in name or "_Gabor" in name for name in names):
        raise ValueError(
            "Its predictors are of Laws or Gabor filters; measure them by `marrowassess radiomics` "
            "and use `marrowassess score`."
        )
    volumes = {c: v for c, v in (study.volumes | corrected).items() if v.same_grid(study.grid)}
    used = {c: v for c, v in volumes.items() if _of_image(names, c.value)} or volumes
    regions = [region for region in study.regions if not region.doubtful]
    filtered = any(_of_image(names, c.value, but=(f"_{ORIGINAL}_", OVER)) for c in used)
    if filtered and importlib.util.find_spec("pywt") is None:
        raise ValueError(
            "Its predictors are of filtered images, which need PyWavelets; install it with: "
            "pip install 'marrowassess[radiomics]'."
        )
    before = {c: "N4" for c in used if c in corrected}
    rows = []
    codes = {name.rsplit("_", 1)[-1] for name in names}
    for row in radiomics_rows(
        used, regions, filtered, done_before=before, tissue=score.tissue, codes=codes
    ):
        values = {n: "" if v is None else repr(float(v)) for n, v in row.values.items()}
        settings = {f"{name}_settings": text for name, text in row.settings.items()}
        age = "" if study.age_years is None else repr(float(study.age_years))
        patient = {"subject": study.subject or "this patient", "age": age, "sex": study.sex or ""}
        rows.append({"tissue": row.tissue, **patient, **settings, **values})
    if not rows:
        raise ValueError(f"There is no region of {score.tissue} that can be relied on.")
    (found,) = scored(score, rows)
    return found


def _of_image(names: set[str], image: str, but: tuple[str, ...] = ()) -> bool:
    """Whether predictors are of an image, other than those that hold one of the words."""
    own = [name for name in names if name.startswith(f"{image}_")]
    return any(not any(word in name for word in but) for name in own)
