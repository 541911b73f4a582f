"""The extension as Slicer's build and its extensions index see it."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY
from PDFFMapperLib.install.software import VERSION

MODULES = ["MarrowAssess", "PDFFMapper"]

# Stands for Slicer's CMake package: its macros write down what they are given.
SLICER_CONFIG = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/empty.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/empty.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/metadata.cmake")
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(GIVEN "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(GIVEN_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${GIVEN_UNPARSED_ARGUMENTS}")
  endif()
  string(REPLACE ";" "\\n" GIVEN_FILES "${GIVEN_SCRIPTS};${GIVEN_RESOURCES}")
  file(WRITE "${CMAKE_BINARY_DIR}/${GIVEN_NAME}.files" "${GIVEN_FILES}")
endmacro()
"""
METADATA = """
foreach(KEY HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS CATEGORY)
  file(WRITE "${CMAKE_BINARY_DIR}/${KEY}" "${EXTENSION_${KEY}}")
endforeach()
"""


@pytest.fixture(scope="module")
def configured(tmp_path_factory) -> Path:
    """The build folder after CMake has run over the extension with a stand-in for Slicer."""
    if not (shutil.which("cmake") and shutil.which("cc")):
        pytest.skip("CMake and a compiler are needed to configure the extension")
    slicer = tmp_path_factory.mktemp("slicer")
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (slicer / "metadata.cmake").write_text(METADATA)
    (slicer / "empty.cmake").write_text("")
    build = tmp_path_factory.mktemp("build")
    command = ["cmake", "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={slicer}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return build


def listed_resources(module: str) -> list[str]:
    """The files that a module's CMakeLists.txt names as its resources."""
    text = (REPOSITORY / module / "CMakeLists.txt").read_text()
    return re.search(r"set\(MODULE_PYTHON_RESOURCES\s(.*?)\)", text, re.DOTALL)[1].split()


def scripts(module: str) -> list[str]:
    return in_tree(module, "*.py", f"{module}Lib/**/*.py")


def in_tree(module: str, *patterns: str) -> list[str]:
    root = REPOSITORY / module
    files = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    kept = (path for path in files if path.parent.name != "__pycache__")
    return sorted(path.relative_to(root).as_posix() for path in kept)


def metadata(key: str) -> str:
    """One value of the extension, read with the index's own pattern: one quoted string."""
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    found = re.findall(rf'set\s*\(EXTENSION_{key}\s*"([^"]+)"\)', text)
    assert len(found) == 1, f"EXTENSION_{key} is one quoted string"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_every_resource_of_the_tree_is_listed(module):
    assert sorted(listed_resources(module)) == in_tree(module, "Resources/**/*")


def test_modules_do_not_overwrite_each_other_in_slicers_flat_folder():
    one, other = [{*scripts(m), *listed_resources(m)} for m in MODULES]
    assert not one & other


def test_cmake_configures_and_passes_every_script_and_resource_on(configured):
    for module in MODULES:
        passed = (configured / f"{module}.files").read_text().split()
        assert passed == [*scripts(module), *listed_resources(module)]


def test_description_survives_cmake(configured):
    # Slicer passes the description on unquoted: a semicolon would cut it.
    assert (configured / "DESCRIPTION").read_text() == metadata("DESCRIPTION")
    assert ";" not in metadata("DESCRIPTION")


def test_metadata_passes_the_checks_of_the_extensions_index():
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    name = re.findall(r"project\s*\(\s*([^\s\)]+)", text)[0]
    assert name == "MarrowAssess" and not name.lower().startswith("slicer")
    assert metadata("DEPENDS") == "NA"
    assert metadata("CATEGORY") == "Quantification"
    assert metadata("CONTRIBUTORS")
    for key in ("HOMEPAGE", "ICONURL", "SCREENSHOTURLS"):
        assert all(url.startswith("https://") for url in metadata(key).split())
    assert "research use" in metadata("DESCRIPTION")
    assert (REPOSITORY / "LICENSE").is_file()


@pytest.mark.parametrize("key", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_of_the_extension_are_in_the_tree(key):
    for url in metadata(key).split():
        path = REPOSITORY / url.split("/main/")[1]
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "icon",
    [
        "Resources/MarrowAssess.png",
        "MarrowAssess/Resources/Icons/MarrowAssess.png",
        "PDFFMapper/Resources/Icons/PDFFMapper.png",
    ],
)
def test_icons_are_128_pixels(icon):
    header = (REPOSITORY / icon).read_bytes()[:24]
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_extension_is_pure_python():
    # The index packages it on every platform only then.
    compiled = [p for p in tracked() if p.suffix in (".h", ".cxx", ".cpp", ".c", ".so", ".pyd")]
    assert not compiled


def test_clone_stays_small():
    assert sum(path.stat().st_size for path in tracked()) < 50e6


def test_the_version_in_results_is_that_of_the_package():
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert f'version = "{VERSION}"' in text


def test_requirements_of_slicer_are_those_of_the_package():
    stated = re.search(
        r"^dependencies = (\[.*?\])", (REPOSITORY / "pyproject.toml").read_text(), re.M | re.S
    )[1]
    package = json.loads(re.sub(r",\s*\]", "]", stated))
    lines = (REPOSITORY / "PDFFMapper/Resources/requirements.txt").read_text().splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert asked and set(asked) <= set(package)


def test_extras_that_the_readme_installs_are_those_of_the_package():
    text = (REPOSITORY / "pyproject.toml").read_text()
    listed = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"(?m)^([\w-]+) = ", listed))
    readme = (REPOSITORY / "README.md").read_text()
    named = re.findall(r"pip install (?:-\w+ )*\"?\.\[([^\]]+)\]", readme)
    assert (
        {"headless", "raw-spectra"} <= {one for each in named for one in each.split(",")} <= known
    )


def test_pip_package_carries_every_resource_the_core_reads():
    text = (REPOSITORY / "pyproject.toml").read_text()
    for module in MODULES:
        globs = re.search(rf'"{module}Lib\.Resources" = (\[.*?\])', text)[1]
        endings = {Path(glob).suffix for glob in json.loads(globs)}
        core = [
            name
            for name in listed_resources(module)
            if not name.startswith(("Resources/UI/", "Resources/Icons/"))
        ]
        assert {Path(name).suffix for name in core} <= endings


def tracked() -> list[Path]:
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git clone")
    done = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    return [path for line in done.stdout.splitlines() if (path := REPOSITORY / line).is_file()]


def test_the_version_of_an_egg_is_read(tmp_path, monkeypatch):
    """As of conda's and Debian's packages."""
    from PDFFMapperLib.install import packages

    egg = tmp_path / "marrow_egg-1.2.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 1.1\nName: marrow-egg\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages._satisfied("marrow-egg>=1.1")
    assert not packages._satisfied("marrow-egg>=1.3")


@pytest.mark.parametrize(
    ("requirement", "there"),
    [("numpy>=1.0", True), ("numpy>=999", False), ("no-such-package-at-all>=1", False)],
)
def test_a_missing_or_old_package_is_noticed_and_named(requirement, there, tmp_path, monkeypatch):
    from PDFFMapperLib.install import packages

    listed_here = tmp_path / "requirements.txt"
    listed_here.write_text(f"# a comment\n{requirement}\n")
    monkeypatch.setattr(packages, "resource_path", lambda *_: listed_here)
    assert packages.missing_packages() == ([] if there else [requirement])
    if there:
        packages.require_packages("A module")
    else:
        with pytest.raises(packages.PackagesMissing, match=requirement.split(">")[0]) as caught:
            packages.require_packages("A module")
        assert "Without internet: on a connected computer" in str(caught.value)
