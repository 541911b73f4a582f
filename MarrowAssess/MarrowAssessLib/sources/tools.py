"""The segmentation tools of others that can be run: one row each."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast


class Run(NamedTuple):
    """One call of a tool.

    Attributes:
        arguments: after the program; {image}, {folder} and {model} are put in.
        output: pattern of the label map's path below the folder.
        convention: of its labels, see label_maps.CONVENTIONS.
        roles: whose regions are taken.
    """

    arguments: tuple[str, ...]
    output: str
    convention: str
    roles: tuple[Role, ...] = tuple(Role)


class Tool(NamedTuple):
    """A segmentation tool.

    Attributes:
        name: as its authors write it.
        program: entry point.
        package: folder in its Python's site-packages.
        home: its page.
        license: of the code, and what is said of the weights.
        weights: names of the folders that its weights lie in.
        fetch: how its user gets the weights.
        runs: what is called.
        models: by contrast what {model} is; empty where any image does.
    """

    name: str
    program: str
    package: str
    home: str
    license: str
    weights: tuple[str, ...]
    fetch: str
    runs: tuple[Run, ...]
    models: dict[Contrast, str]


_SPINEPS_ARGUMENTS = (
    "sample", "--input", "{image}", "--model-semantic", "{model}", "--model-instance", "instance",
    "--model-labeling", "t2w_labeling", "--derivative-name", "out", "--cpu",
)  # fmt: skip
TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "TotalSegmentator", "TotalSegmentator", "totalsegmentator",
            "https://github.com/wasserth/TotalSegmentator",
            "Apache-2.0; weights of vertebrae_mr and total_mr need no license number",
            ("Dataset756_*", "Dataset850_*", "Dataset851_*"),
            "totalseg_download_weights -t vertebrae_mr, then -t total_mr",
            (
                Run(
                    ("-i", "{image}", "-o", "{folder}/vertebrae.nii.gz", "--ml",
                     "--task", "vertebrae_mr", "--device", "cpu"),
                    "vertebrae.nii.gz", "TotalSegmentator vertebrae_mr",
                ),
                Run(
                    ("-i", "{image}", "-o", "{folder}/total.nii.gz", "--ml",
                     "--task", "total_mr", "--device", "cpu"),
                    "total.nii.gz", "TotalSegmentator total_mr", (Role.MUSCLE,),
                ),
            ),
            {},
        ),
        Tool(
            "TotalSpineSeg", "totalspineseg", "totalspineseg",
            "https://github.com/neuropoly/totalspineseg",
            "LGPL-3.0; weights as released with it, without a license of their own",
            ("Dataset101_TotalSpineSeg_step1", "Dataset102_TotalSpineSeg_step2"),
            "totalspineseg_init",
            (
                Run(
                    ("{image}", "{folder}", "--device", "cpu", "--max-workers", "1"),
                    "step2_output/*.nii.gz", "TotalSpineSeg",
                ),
            ),
            {},
        ),
        Tool(
            "SPINEPS", "spineps", "spineps",
            "https://github.com/Hendrik-code/spineps",
            "Apache-2.0; weights as released with it, without a license of their own",
            ("{model}_semantic_*", "instance_sagittal_*", "T2w_labeling_*"),
            "its own first run",
            (Run(_SPINEPS_ARGUMENTS, "out/**/*_seg-vert_*msk.nii.gz", "SPINEPS vertebrae"),),
            {Contrast.T2: "t2w", Contrast.T1: "t1w"},
        ),
    )
}  # fmt: skip


def tool_named(name: str) -> Tool:
    """The tool of a name, however it is capitalized.

    Raises:
        ValueError: there is none.
    """
    found = {key.casefold(): tool for key, tool in TOOLS.items()}.get(name.strip().casefold())
    if found is None:
        raise ValueError(f"'{name}' is no tool that is known here; expected {', '.join(TOOLS)}.")
    return found


def image_for(tool: Tool, contrasts: Collection[Contrast]) -> Contrast:
    """Which image of a study a tool is given.

    Raises:
        ValueError: it is made for none of them.
    """
    if not tool.models:
        first = (Contrast.T1, Contrast.T2, *contrasts)
        return next(one for one in first if one in contrasts)
    for contrast in tool.models:
        if contrast in contrasts:
            return contrast
    wanted = " or ".join(one.value for one in tool.models)
    given = ", ".join(one.value for one in contrasts)
    raise ValueError(f"{tool.name} is made for {wanted}; this study has {given}.")
