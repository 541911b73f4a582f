"""Recipes: what follows from their rows, one answer by every path, NaN with its reason."""

import argparse
import csv
import json
import re
import sys
import types
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands.main import COMMANDS, main
from MarrowAssessLib.sources.inputs import StudyInputs
from MarrowAssessLib.sources.labels import parse_label_rule
from MarrowAssessLib.sources.study_files import read_study
from PDFFMapperLib.commands import spectrum, stations
from PDFFMapperLib.commands.builder import add_arguments, run
from PDFFMapperLib.diffusion.maps import Doubt as DiffusionDoubt
from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.images.files import read_volume, write_series, write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.recipe import CHOICE, NUMBER, Family, Input, Option, Recipe
from PDFFMapperLib.maps.trust import where_trusted
from PDFFMapperLib.recipes import ALONE, FAMILIES
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.water_fat.recipe import WATER_FAT
from PDFFMapperLib.water_fat.separation import Doubt as WaterFatDoubt
from phantoms.diffusion import marrow
from phantoms.water_fat import spine_phantom

RECIPES = [recipe for family in FAMILIES for recipe in family.recipes]
GRID = np.diag([2.0, 2.0, 4.0, 1.0])


# --- what the rows promise ----------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [*RECIPES, *ALONE.values()], ids=lambda recipe: recipe.id)
def test_a_row_is_whole(recipe):
    assert callable(resolve_name(recipe.compute))
    assert [map_kind(kind).id for kind in recipe.kinds] == list(recipe.kinds)
    assert "doubt" in recipe.kinds or recipe in ALONE.values()
    assert recipe.kinds or recipe.numbers
    assert re.search(r"doi 10\.\d{4}|ISMRM \d{4}, abstract \d+", recipe.citation)
    optional = [one.optional for one in recipe.inputs]
    assert optional == sorted(optional)
    for option in recipe.options:
        assert option.help.endswith(".") and option.name
        assert option.type != NUMBER or option.unit, f"{option.name} has no unit"
        assert option.type != CHOICE or option.default in {None, *dict(option.choices)}
        assert not option.parameter or option.title


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.command)
def test_the_command_has_every_option_with_a_flag(family, capsys):
    with pytest.raises(SystemExit):
        main([family.command, "--help"])
    help_text = capsys.readouterr().out
    assert COMMANDS[family.command][1][1:] in " ".join(help_text.split())
    for option in family.options:
        assert not option.flag or option.flag in help_text
    for recipe in family.recipes:
        assert (recipe.flag or recipe.id) in help_text


def test_what_stands_alone_has_its_options_where_it_is_run():
    from MarrowAssessLib.commands import assess

    run_by = {"spectrum": spectrum, "stations": stations, "assess --ute": assess}
    assert list(run_by) == list(ALONE)
    for command, parts in run_by.items():
        parser = argparse.ArgumentParser()
        parts.add_arguments(parser)
        for option in ALONE[command].options:
            assert option.flag in parser.format_help()


def test_the_readme_tells_every_method():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert method_table() in text, f"put this into README.md:\n{method_table()}"


# Maps that the sentence after the table names.
BESIDE = ("_SD", "doubt", "residual", "S0", "R2", "valid", "model")


def method_table():
    rows = ["| Command | Method | Maps, numbers | Source |", "|---|---|---|---|"]
    for family in FAMILIES:
        for recipe in family.recipes:
            how = recipe.flag or f"--method {recipe.id}"
            names = dict.fromkeys(map_kind(kind).name for kind in recipe.kinds)
            kinds = ", ".join(one for one in names if not one.endswith(BESIDE))
            rows.append(
                f"| `{family.command} {how}` | {recipe.title} | {kinds} | {recipe.citation} |"
            )
    for command, recipe in ALONE.items():
        names = [map_kind(kind).name for kind in recipe.kinds] + list(recipe.numbers)
        kinds = ", ".join(one for one in names if not one.endswith(" of the fitted ring"))
        rows.append(f"| `{command}` | {recipe.title} | {kinds} | {recipe.citation} |")
    known = set()

    def once(doi):
        return "" if doi[0] in known or known.add(doi[0]) else doi[0]

    return re.sub(r", doi [^;,) ]+", once, "\n".join(rows))  # each DOI where it is first


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lowest": 3}, "has no option lowest"),
        ({"lowest_b": -1.0}, "Lowest b-value lies between 0 and 10000 s/mm^2; -1 was given"),
        ({"noise": "pink"}, "noise is one of rician, gaussian, not 'pink'"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        DIFFUSION.recipe("adc").make(series(marrow(8, 50))[:1], **settings)


def test_images_are_checked():
    recipe = WATER_FAT.recipe("water-fat")
    one = Volume(np.ones((2, 3, 4)), GRID, "W")
    with pytest.raises(ValueError, match="1 images were given; expected are: Water, Fat"):
        recipe.make([one])
    with pytest.raises(ValueError, match="another voxel grid"):
        recipe.make([one, Volume(np.ones((2, 3, 4)), np.eye(4), "F")])
    with pytest.raises(ValueError, match="no echoes were given"):
        WATER_FAT.recipe("complex").make([])
    with pytest.raises(ValueError, match="no method 'best'"):
        WATER_FAT.recipe("best")


def test_a_new_family_is_its_rows_its_fit_and_its_reader(tmp_path, monkeypatch, capsys):
    """Command, checks, files, provenance and region values come by themselves."""
    images = Input("images", "Images", "Any.", "newNodes", "new", series=True)
    factor = Option("factor", NUMBER, 2.0, "Times what.", "times", low=0, high=9, flag="--factor")
    recipe = Recipe("twice", "Twice", "Each twice", (images,), (factor,), ("ADC", "doubt"),
                    "Nobody 2000, doi 10.1000/1", "new_room:compute")  # fmt: skip
    family = Family("new", "New", "New maps", "new", "newChoice", "new_room",
                    "PDFFMapperLib.commands.region_values:of_maps", "twice", (recipe,))  # fmt: skip

    def compute(volumes, settings, progress):
        like = volumes[0]
        doubt = np.isnan(like.array).astype(np.uint8)
        return [
            ParametricMap(map_kind("ADC"), like.with_array(settings.factor * like.array)),
            ParametricMap(map_kind("doubt"), like.with_array(doubt), {}, {0: "sure", 1: "none"}),
        ]

    room = types.ModuleType("new_room")
    room.compute = compute
    room.add_arguments = lambda parser: parser.add_argument("images", nargs="+", type=Path)
    room.read = lambda args: ([read_volume(path) for path in args.images], {}, [])
    monkeypatch.setitem(sys.modules, "new_room", room)
    write_volume(Volume(np.full((2, 3, 4), 0.5, np.float32), GRID), tmp_path / "a.nrrd")
    parser = argparse.ArgumentParser()
    add_arguments(parser, family)
    words = [str(tmp_path / "a.nrrd"), "--factor", "3", "--out", str(tmp_path / "out")]
    assert run(parser.parse_args(words), family) == 0
    assert "24 voxels fitted, 24 with confidence" in capsys.readouterr().out
    assert (read_volume(tmp_path / "out/new_ADC.nrrd").array == 1.5).all()
    facts = json.loads((tmp_path / "out/new_maps.json").read_text())["provenance"]
    assert facts["method"] == "twice" and facts["settings"] == {"factor": 3.0}
    with pytest.raises(ValueError, match="between 0 and 9 times; 10 was given"):
        run(parser.parse_args([*words, "--factor", "10"]), family)


# --- one answer by every path -------------------------------------------------------------------


def series(phantom, shape=None):
    """Diffusion signals as one volume per b-value."""
    shape = shape or (1, 1, len(phantom.d))
    volumes = []
    for n, b_value in enumerate(phantom.b_values):
        array = np.ascontiguousarray(phantom.signal[:, n].reshape(shape))
        volumes.append(Volume(array, GRID, f"b{b_value:g}", {"DiffusionBValue": float(b_value)}))
    return volumes


@pytest.fixture(scope="module")
def noisy():
    """Marrow at SNR 17, where the data of many voxels do not tell D*, as volumes."""
    return series(marrow(800, 17, seed=2), (8, 10, 10))


def values(study):
    from MarrowAssessLib.measures.measure import measure

    found = {}
    for one in measure(study).measurements:
        if one.site == "L1":
            found[one.quantity] = (one.value, one.statistics.voxels)
    return found


@pytest.mark.parametrize("method", ["adc", "full", "hierarchical"])
def test_console_files_panel_and_loaded_files_measure_the_same(noisy, method, tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.scene import headless
    from MarrowAssessLib.scene.study import study_from_nodes
    from MarrowAssessLib.study.regions import Region
    from MarrowAssessLib.study.study import Study
    from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node
    from stand_ins import load_module

    headless.start()
    slicer.mrmlScene.Clear(False)
    names = ("ADC",) if method == "adc" else ("D", "Dstar", "f")
    region = Region.from_mask("L1", Role.MARROW, "L1", np.ones((8, 10, 10), bool))

    console = {m.name: m.volume for m in DIFFUSION.recipe(method).make(noisy) if m.name in names}
    by_path = {"console": {Contrast(name): console[name] for name in names}}

    write_series(noisy, tmp_path / "dwi.nii.gz")
    listed = ",".join(f"{one.attributes['DiffusionBValue']:g}" for one in noisy)
    arguments = ["ivim", str(tmp_path / "dwi.nii.gz"), "--b-values", listed, "--method", method]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    labels = noisy[0].with_array(np.ones((8, 10, 10), np.uint8))
    write_volume(labels, tmp_path / "labels.nrrd")
    files = {Contrast(name): tmp_path / f"diffusion_{name}.nrrd" for name in names}
    rules = [parse_label_rule("1=marrow:L1")]
    by_path["files"] = read_study(files, labels=tmp_path / "labels.nrrd", rules=rules).volumes

    nodes = [volume_to_node(volume, volume.name) for volume in noisy]
    made = load_module("PDFFMapper").PDFFMapperLogic().make("ivim", method, nodes)
    made = {node.GetName(): node for node in made}
    by_path["panel"] = {Contrast(name): volume_from_node(made[name]) for name in names}

    def loaded(path):
        node = volume_to_node(read_volume(path), path.stem)
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(path))
        return node

    from MarrowAssessLib.scene.segments import regions_to_node

    in_scene = {contrast: loaded(path) for contrast, path in files.items()}
    segmentation = regions_to_node([region], in_scene[Contrast(names[0])])
    by_path["loaded"] = study_from_nodes(StudyInputs(in_scene, segmentation)).volumes

    found = {path: values(Study(volumes, [region])) for path, volumes in by_path.items()}
    assert len(found["console"]) == len(names)
    for path, measured in found.items():
        assert measured == found["console"], path
    keys = json.loads((tmp_path / "diffusion_maps.json").read_text())["provenance"]
    of_node = volume_from_node(made[names[0]]).attributes["Provenance"]
    assert set(keys) - {"reading"} == set(of_node)
    assert keys["method"] == of_node["method"] == method


IN_SAMPLE = [family for family in FAMILIES if family.command != "ute"]  # no bone at UTE in it


@pytest.mark.parametrize("family", IN_SAMPLE, ids=lambda family: family.command)
def test_the_sample_s_files_give_its_maps_to_the_last_digit(family, phantom, tmp_path):
    """The demo and the panel's sample hold the images that the demo writes as files."""
    from MarrowAssessLib.commands.demo import _write_series

    def cropped(volumes):
        return [one.with_array(np.ascontiguousarray(one.array[20:23])) for one in volumes]

    echoes, images = cropped(phantom.echo_volumes()), cropped(phantom.diffusion_volumes())
    beams = cropped(phantom.dual_energy_volumes())
    _write_series(
        SimpleNamespace(
            echo_volumes=lambda: echoes,
            diffusion_volumes=lambda: images,
            dual_energy_volumes=lambda: beams,
        ),
        tmp_path,
    )
    given = {
        "pdff": (echoes, ["echoes_real.nii.gz", "--imaginary", "echoes_imaginary.nii.gz"]),
        "ivim": (images, ["diffusion.nii.gz"]),
        "dect": (
            beams,
            ["ct_low.nrrd", "ct_high.nrrd", "--kv-pair", "90/Sn150", "--water-cm", "30"],
        ),
    }
    settings = {"kv_pair": "90/Sn150", "water_cm": 30.0} if family.command == "dect" else {}
    sample, words = given[family.command]
    arguments = [
        str(tmp_path / word) if word.endswith((".gz", ".nrrd")) else word for word in words
    ]
    assert main([family.command, *arguments, "--out", str(tmp_path / "out")]) == 0
    for made in family.recipe(family.default).make(sample, **settings):
        read = read_volume(tmp_path / "out" / f"{family.prefix}_{made.name}.nrrd").array
        assert np.array_equal(read, made.volume.array, equal_nan=read.dtype.kind == "f"), made.name


def test_dstar_that_the_data_do_not_tell_is_nan_and_says_so(noisy):
    made = {one.name: one.volume.array for one in DIFFUSION.recipe("full").make(noisy)}
    unknown = made["doubt"] & DiffusionDoubt.DSTAR_UNKNOWN > 0
    assert 0.3 < unknown.mean() < 0.95
    assert np.array_equal(np.isnan(made["Dstar"]), unknown)
    assert np.array_equal(unknown, ~made["Dstar_identifiable"])
    assert np.isfinite(made["D"]).all() and np.isfinite(made["f"]).all()


def test_masks_of_old_files_are_respected_however_slicer_turned_the_map(tmp_path):
    """Version 0.1 wrote the PDFF of all voxels and a mask of those to trust."""
    rng = np.random.default_rng(0)
    pdff = Volume(rng.uniform(0, 100, (3, 4, 5)).astype(np.float32), GRID, "old")
    confident = rng.random((3, 4, 5)) > 0.4
    for name in ("PDFF", "R2star", "PDFF_T1corrected"):
        write_volume(pdff, tmp_path / f"x_{name}.nrrd")
    write_volume(pdff.with_array(confident.astype(np.uint8)), tmp_path / "x_confident.nrrd")
    for name in ("PDFF", "R2star", "PDFF_T1corrected"):
        read, mask = where_trusted(pdff, tmp_path / f"x_{name}.nrrd")
        assert mask == "x_confident.nrrd"
        assert np.array_equal(np.isfinite(read.array), confident)
    # As ITK turns a left-handed volume: slices in reverse, and the matrix with them.
    turn = np.diag([1.0, 1.0, -1.0, 1.0])
    turn[2, 3] = 2
    reversed_pdff = Volume(pdff.array[::-1], GRID @ turn, "old")
    read, _ = where_trusted(reversed_pdff, tmp_path / "x_PDFF.nrrd")
    assert np.array_equal(np.isfinite(read.array), confident[::-1])
    elsewhere = Volume(pdff.array, GRID @ np.diag([1.1, 1, 1, 1]), "old")
    with pytest.raises(ValueError, match="another voxel grid"):
        where_trusted(elsewhere, tmp_path / "x_PDFF.nrrd")
    assert where_trusted(pdff, tmp_path / "y_PDFF.nrrd") == (pdff, "")
    assert where_trusted(pdff, tmp_path / "x_water.nrrd") == (pdff, "")


# --- every reason of doubt ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def echoes():
    phantom = spine_phantom((4, 32, 32), snr=60)
    phantom.echoes[:, 1, :4] *= 0.0
    rng = np.random.default_rng(0)
    dim = rng.normal(0, 1 / 60, (2, *phantom.echoes[:, 1, :4].shape)) * np.abs(phantom.echoes).max()
    phantom.echoes[:, 1, :4] = dim[0] + 1j * dim[1]
    volumes = []
    for time, echo in zip(phantom.echo_times_s, phantom.echoes, strict=True):
        for component, part in (("real", echo.real), ("imaginary", echo.imag)):
            facts = {"EchoTime": 1e3 * time, "ImageComponent": component}
            volumes.append(Volume(part.astype(np.float32), GRID, component, facts))
    return phantom, volumes


def test_voxels_of_noise_inside_a_mask_are_low_signal_and_nan(echoes):
    phantom, volumes = echoes
    everywhere = Volume(np.ones((4, 32, 32), np.uint8), GRID, "all")
    made = WATER_FAT.recipe("complex").make(volumes, field_strength_t=3.0, mask=everywhere)
    maps = {one.name: one.volume.array for one in made}
    noise = np.zeros((4, 32, 32), bool)
    noise[1, :4] = True
    low = maps["doubt"] & WaterFatDoubt.LOW_SIGNAL > 0
    assert low[noise].mean() > 0.95
    body = np.isfinite(phantom.pdff) & ~noise
    assert low[body].mean() < 0.01
    assert np.isnan(maps["PDFF"][low]).all() and np.isnan(maps["R2star"][low]).all()
    assert np.array_equal(np.isfinite(maps["PDFF"]), maps["doubt"] == 0)
    assert np.isfinite(maps["water"][noise]).mean() > 0.5  # images stay whole


@pytest.mark.parametrize("method", ["complex", "magnitude"])
def test_all_outside_a_mask_is_low_signal(echoes, method):
    _phantom, volumes = echoes
    if method == "magnitude":
        volumes = [
            one.with_array(np.hypot(one.array, two.array))
            for one, two in zip(volumes[::2], volumes[1::2], strict=True)
        ]
        for one in volumes:
            one.attributes["ImageComponent"] = "magnitude"
    half = Volume(np.ones((4, 32, 32), np.uint8), GRID, "half")
    half.array[:, :, :16] = 0
    made = WATER_FAT.recipe(method).make(volumes, field_strength_t=3.0, mask=half)
    doubt = {one.name: one.volume.array for one in made}["doubt"]
    assert (doubt[half.array == 0] == WaterFatDoubt.LOW_SIGNAL).all()
    assert (doubt[half.array == 1] == 0).mean() > 0.3


def test_voxels_of_noise_are_low_signal_in_magnitudes_and_in_two_points(echoes):
    phantom, volumes = echoes
    everywhere = Volume(np.ones((4, 32, 32), np.uint8), GRID, "all")
    magnitudes = [
        real.with_array(np.hypot(real.array, imaginary.array))
        for real, imaginary in zip(volumes[::2], volumes[1::2], strict=True)
    ]
    for one in magnitudes:
        one.attributes["ImageComponent"] = "magnitude"
    made = WATER_FAT.recipe("magnitude").make(magnitudes, field_strength_t=3.0, mask=everywhere)
    maps = {one.name: one.volume.array for one in made}
    low = maps["doubt"] & WaterFatDoubt.LOW_SIGNAL > 0
    assert low[1, :4].mean() > 0.95 and low[np.isfinite(phantom.pdff)].mean() < 0.3
    assert np.array_equal(np.isfinite(maps["PDFF"]), maps["doubt"] == 0)

    body = np.zeros((2, 48, 48), bool)
    body[:, 12:36, 12:36] = True
    rng = np.random.default_rng(0)
    images = []
    for share in (0.7, 0.3):
        noise = rng.normal(0, 1, (2, *body.shape))
        images.append(Volume(np.hypot(100 * share * body + noise[0], noise[1]), GRID, f"{share}"))
    made = {one.name: one for one in WATER_FAT.recipe("water-fat").make(images)}
    low = made["doubt"].volume.array == WaterFatDoubt.LOW_SIGNAL
    assert low[~body].mean() > 0.99 and not low[body].any()
    assert np.array_equal(np.isnan(made["FF"].volume.array), low)


def test_noise_voxels_of_diffusion_are_low_signal_and_nan():
    phantom = marrow(4096, 40, seed=1)
    body = np.zeros((64, 64), bool)
    body[16:48, 16:48] = True
    air = ~body.ravel()
    rng = np.random.default_rng(1)
    noise = rng.normal(0, phantom.sigma, (2, air.sum(), phantom.b_values.size))
    phantom.signal[air] = np.hypot(*noise)
    made = DIFFUSION.recipe("adc").make(series(phantom, (1, 64, 64)))
    maps = {one.name: one.volume.array.ravel() for one in made}
    low = maps["doubt"] & DiffusionDoubt.LOW_SIGNAL > 0
    assert low[air].mean() > 0.99 and low[~air].mean() < 0.01
    assert np.array_equal(np.isnan(maps["ADC"]), low)
    doubt = next(one for one in made if one.name == "doubt")
    assert doubt.codes[1] == "low signal"


def test_two_b_values_are_mapped_and_say_what_they_cannot_tell():
    phantom = marrow(1024, 40, seed=1, b_values=np.array([0.0, 800.0]))
    made = DIFFUSION.recipe("adc").make(series(phantom, (1, 32, 32)))
    maps = {one.name: one.volume.array for one in made}
    closed_form = np.log(phantom.signal[:, 0] / phantom.signal[:, 1]) / 0.8
    assert maps["ADC"].ravel() == pytest.approx(closed_form, abs=1e-3)
    assert np.isnan(maps["ADC_SD"]).all() and np.isnan(maps["R2"]).all()
    assert any("no goodness of fit" in note for note in made[0].provenance["notes"])
    assert made[0].provenance["sigma"] is None
    given = DIFFUSION.recipe("adc").make(series(phantom, (1, 32, 32)), sigma=phantom.sigma)
    assert not any("goodness" in note for note in given[0].provenance["notes"])
    assert np.isfinite(next(m for m in given if m.name == "ADC_SD").volume.array).all()


def test_signals_below_zero_are_told(noisy):
    below = [one.with_array(one.array.copy()) for one in noisy]
    below[-1].array[0, 0, :8] = -1
    made = DIFFUSION.recipe("adc").make(below)
    assert any("are below 0" in note for note in made[0].provenance["notes"])
    assert np.isfinite(made[0].volume.array[0, 0, :8]).all()


def test_a_direction_below_zero_does_not_lose_the_voxel():
    rows = np.array([[100.0, 50, 40, 30], [100, 50, -2, 30]], np.float32)
    volumes = []
    for n, (b_value, axis) in enumerate(((0, None), (800, 0), (800, 1), (800, 2))):
        facts = {"DiffusionBValue": float(b_value)}
        if axis is not None:
            facts["DiffusionGradientOrientation"] = np.eye(3)[axis].tolist()
        volumes.append(Volume(rows[:, n].reshape(1, 1, 2), GRID, f"{n}", facts))
    mask = Volume(np.ones((1, 1, 2), np.uint8), GRID, "mask")
    made = DIFFUSION.recipe("adc-wls").make(volumes, mask=mask)
    expected = np.log([100 / 60000 ** (1 / 3), 100 / 26]) / 0.8
    assert made[0].volume.array.ravel() == pytest.approx(expected, rel=1e-4)


def test_the_other_reasons_of_diffusion_are_told(noisy):
    everywhere = noisy[0].with_array(np.ones(noisy[0].array.shape, np.uint8))
    spoiled = [one.with_array(one.array.copy()) for one in noisy]
    spoiled[3].array[0, 0, :4] = np.nan
    for one, signal in zip(spoiled, 100 * np.exp(-np.arange(len(noisy)) / 40), strict=True):
        one.array[1] = signal * (1 + 1e-3 * np.arange(100).reshape(10, 10) / 100)
    doubt = next(
        one.volume.array
        for one in DIFFUSION.recipe("hierarchical").make(spoiled, mask=everywhere, sigma=5.9)
        if one.name == "doubt"
    )
    assert np.argwhere(doubt & DiffusionDoubt.FAILED).tolist() == [[0, 0, n] for n in range(4)]
    assert (doubt & DiffusionDoubt.AT_LIMIT > 0).any()


def test_voxels_unlike_what_was_learned_say_so_and_keep_their_own_fit():
    phantom = marrow(3000, 40, seed=2, d=(0.3, 0.5), f=(0.05, 0.15))
    odd = marrow(3, 40, seed=3, d=(5.0, 5.1), f=(0.7, 0.75), d_star=(200, 210))
    phantom.signal[:3] = odd.signal
    images = series(phantom, (1, 50, 60))
    mask = images[0].with_array(np.ones((1, 50, 60), np.uint8))
    settings = {"mask": mask, "sigma": phantom.sigma}
    learned, own = (
        {
            one.name: one.volume.array.ravel()
            for one in DIFFUSION.recipe(name).make(images, **settings)
        }
        for name in ("hierarchical", "full")
    )
    atypical = learned["doubt"] & DiffusionDoubt.ATYPICAL > 0
    assert np.flatnonzero(atypical).tolist() == [0, 1, 2]
    assert np.array_equal(learned["f"][:3], own["f"][:3])


def test_echoes_that_no_model_fits_and_magnitudes_that_both_sides_fit_say_so(echoes):
    _, volumes = echoes
    turned = [one.with_array(one.array.copy()) for one in volumes]
    turned[6].array[2, 8:24, 8:24] *= -1  # both parts of the fourth echo
    turned[7].array[2, 8:24, 8:24] *= -1
    settings = {"field_strength_t": 3.0, "readout": "unipolar", "precession": "as given"}
    made = WATER_FAT.recipe("complex").make(turned, **settings)
    doubt = next(one.volume.array for one in made if one.name == "doubt")
    assert (doubt[2, 10:22, 10:22] & WaterFatDoubt.POOR_FIT > 0).mean() > 0.6
    assert (doubt[3] & WaterFatDoubt.POOR_FIT > 0).mean() < 0.05

    phantom = spine_phantom((4, 32, 32), snr=25)
    magnitudes = [
        Volume(np.abs(echo).astype(np.float32), GRID, "m", {"EchoTime": 1e3 * time})
        for time, echo in zip(phantom.echo_times_s, phantom.echoes, strict=True)
    ]
    made = WATER_FAT.recipe("magnitude").make(magnitudes, field_strength_t=3.0)
    doubt = next(one.volume.array for one in made if one.name == "doubt")
    body = np.isfinite(phantom.pdff)
    assert 0.02 < (doubt[body] & WaterFatDoubt.SWAP_RISK > 0).mean() < 0.9


def test_every_reason_of_doubt_has_a_test():
    tests = "".join(file.read_text() for file in (REPOSITORY / "Testing/Python").glob("test_*.py"))
    for doubts in (DiffusionDoubt, WaterFatDoubt):
        for one in doubts:
            assert re.search(rf"Doubt\.{one.name}\b", tests), f"no test provokes {one.name}"


def test_region_values_leave_doubt_out(echoes, tmp_path):
    from PDFFMapperLib.commands.region_values import of_maps

    _, volumes = echoes
    made = WATER_FAT.recipe("complex").make(volumes, field_strength_t=3.0)
    whole = np.ones((4, 32, 32), bool)
    of_maps(tmp_path / "regions.csv", made, {"1": whole}, volumes, None)
    rows = {row["map"]: row for row in csv.DictReader((tmp_path / "regions.csv").open())}
    doubt = next(one.volume.array for one in made if one.name == "doubt")
    assert int(rows["PDFF"]["used"]) == int((doubt == 0).sum()) < whole.size


@pytest.mark.parametrize("name", ["mask", "b1_map"])
def test_an_image_or_region_given_as_a_name_is_refused(name):
    (recipe,) = [one for one in UTE.recipes if one.id == "mt"]
    with pytest.raises(ValueError, match=r"takes an image .* 'x.nii' was given"):
        recipe.chosen({name: "x.nii"})
