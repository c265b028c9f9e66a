"""The code behind an asset: an edit of anything that its value can depend on counts, and of nothing else."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from quant_pipeline.orchestration import closure
from quant_pipeline.orchestration.closure import code_behind

FILES = {
    "__init__.py": "",
    "orchestration/__init__.py": "",
    "orchestration/house.py": """
from quant_pipeline_copy.rooms import stores
class House:
    def store(self):
        return self._open()
    def _open(self):
        from quant_pipeline_copy.rooms import deep
        return deep.x
    def other(self):
        return 1
""",
    "orchestration/body.py": """
from typing import TYPE_CHECKING
from quant_pipeline_copy.rooms import named, unused
if TYPE_CHECKING:
    from quant_pipeline_copy.rooms import annotated
LIMIT = 3
UNUSED = 4
def asset(function):
    return function
def factory():
    @asset
    def body(house):
        from quant_pipeline_copy.rooms.inner import value
        return helper(value), house.store(), LIMIT
    return body
def helper(value):
    return named.x + value
def bystander():
    return 5
""",
    "rooms/__init__.py": "",
    "rooms/named.py": "from quant_pipeline_copy.rooms import below\nx = 1\n",
    "rooms/below.py": "PAGE = 'page.html'\nx = 1\n",
    "rooms/page.html": "<p>",
    "rooms/inner.py": """
import importlib
def load(name):
    return importlib.import_module(f'quant_pipeline_copy.rooms.{name}')
value = 1
""",
    "rooms/deep.py": "x = 1\n",
    "rooms/stores.py": "x = 1\n",
    "rooms/unused.py": "x = 1\n",
    "rooms/annotated.py": "x = 1\n",
    "elsewhere.py": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package with an asset body, read by the closure in place of ours."""
    root = tmp_path / "quant_pipeline_copy"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(closure, "PACKAGE", root)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    _forget()
    yield root
    _forget()
    for name in [name for name in sys.modules if name.startswith("quant_pipeline_copy")]:
        del sys.modules[name]


def _forget() -> None:
    cached_by = (
        "source",
        "_code_behind",
        "_content",
        "_methods",
        "_imports",
        "_imports_by_computed_name",
        "_remembered",
        "_memory",
    )
    for cached in (getattr(closure, name) for name in cached_by):
        cached.cache_clear()


def behind(package, opened=None) -> dict[str, bytes]:
    _forget()
    spec = importlib.util.spec_from_file_location("quant_pipeline_copy.orchestration.body", package / "orchestration/body.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(code_behind(module.factory(), opened))


def edit(package, name: str, old: str, new: str) -> None:
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("orchestration/body.py", "return helper(value)", "return -helper(value)"),
        ("orchestration/body.py", "return named.x + value", "return named.x - value"),
        ("orchestration/body.py", "LIMIT = 3", "LIMIT = 4"),
        ("orchestration/house.py", "return self._open()", "return -self._open()"),
        ("orchestration/house.py", "return deep.x", "return -deep.x"),
        ("rooms/named.py", "x = 1", "x = 2"),
        ("rooms/below.py", "x = 1", "x = 2"),
        ("rooms/page.html", "<p>", "<b>"),
        ("rooms/inner.py", "value = 1", "value = 2"),
        ("rooms/deep.py", "x = 1", "x = 2"),
        ("rooms/unused.py", "x = 1", "x = 2"),
    ],
)
def test_an_edit_of_what_a_body_can_reach_counts(package, file, old, new):
    before = behind(package)
    edit(package, file, old, new)
    assert behind(package) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("orchestration/body.py", "return 5", "return 6"),
        ("orchestration/body.py", "UNUSED = 4", "UNUSED = 5"),
        ("orchestration/body.py", "LIMIT = 3", "LIMIT = 3  # bars"),
        ("orchestration/house.py", "return 1", "return 2"),
        ("elsewhere.py", "x = 1", "x = 2"),
    ],
)
def test_an_edit_of_what_it_cannot_reach_does_not(package, file, old, new):
    before = behind(package)
    edit(package, file, old, new)
    assert behind(package) == before


def test_a_digest_is_remembered_until_a_file_changes(package, monkeypatch):
    def digest() -> str:
        body = importlib.import_module("quant_pipeline_copy.orchestration.body").factory()
        return closure.code_digest(body)

    first = digest()
    (memory,) = (package / "__pycache__").glob("code-*.json")
    _forget()
    monkeypatch.setattr(closure, "code_behind", lambda *_: pytest.fail("it was remembered"))
    assert digest() == first
    monkeypatch.undo()
    monkeypatch.setattr(closure, "PACKAGE", package)
    _forget()
    edit(package, "rooms/deep.py", "x = 1", "x = 2")
    assert digest() != first
    assert closure._memory() != memory


def test_what_a_registry_opens_may_be_told(package):
    told = behind(package, {"rooms/inner.py": ("rooms/deep.py",)})
    assert "rooms/unused.py" not in told
    assert {"rooms/deep.py", "rooms/inner.py", "rooms/named.py"} <= set(told)
    edit(package, "rooms/unused.py", "x = 1", "x = 2")
    assert behind(package, {"rooms/inner.py": ("rooms/deep.py",)}) == told


def test_every_asset_is_found_with_the_code_that_makes_its_value(default_house):
    """The real package: what each asset's room is, without which its version would miss edits."""
    from quant_pipeline.orchestration.assets.audit import OPENED, _audit
    from quant_pipeline.orchestration.assets.labels import _splits
    from quant_pipeline.orchestration.assets.models import _model
    from quant_pipeline.orchestration.assets.preparation import _regimes, _selection

    def names(asset, opened=None) -> set[str]:
        (body,) = {asset.op.compute_fn.decorated_fn}
        return {name for name, _ in code_behind(body, opened)}

    splits = names(_splits(default_house))
    assert {"validation/splits.py", "validation/purging.py", "orchestration/results.py"} <= splits
    assert not {"models/base.py", "ensemble/meta.py"} & splits
    only = {"models/registry.py": ("models/boosting/lightgbm.py",)}
    lightgbm = names(_model(default_house, default_house.experiment.models[0]), only)
    assert {"models/boosting/lightgbm.py", "models/base.py", "views/feature_matrix.py"} <= lightgbm
    assert "models/classical/logistic.py" not in lightgbm
    gate = names(_audit(default_house), OPENED)
    assert {"inference/gate.py", "inference/watch.py", "sources/store.py", "features/momentum.py", "inference/context.py"} <= gate
    assert not {"models/base.py", "inference/bundle.py", "orchestration/assets/models.py"} & gate
    for body in (_regimes, _selection):
        assert not {"models/base.py", "models/registry.py", "inference/gate.py"} & names(body(default_house))


@pytest.mark.usefixtures("plug")
def test_an_edit_of_a_plugin_makes_new_what_reads_it_and_nothing_else(a_feature, a_model, bare_home, tmp_path, monkeypatch):
    from quant_pipeline.definitions import build_defs

    def changed(**files: str) -> set[str]:
        """Assets whose version is another since the last call; each has a new folder, so that what was parsed stays so."""
        kept.update(files)
        folder = tmp_path / f"edit{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, text in kept.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.setenv("QUANT_PLUGINS", str(folder))
        for cached in (closure._code_behind, closure._memory, closure._remembered):
            cached.cache_clear()
        graph = build_defs(house).resolve_asset_graph()
        told = {key.to_user_string(): graph.get(key).code_version for key in graph.get_all_asset_keys()}
        new = {name for name in told if told[name] != before.get(name)}
        before.update(told)
        return new

    kept: dict[str, str] = {}
    before: dict[str, str] = {}
    house = bare_home.house(models=[{"name": "mine"}, {"name": "logistic"}])
    net = "from quant_pipeline.plugins import helper\nfrom quant_pipeline.models.registry import spec\n"
    changed(doubled=a_feature("doubled", "returns"), net=net + a_model("mine"), other=a_model("other"), helper="x = 1")
    of_features = changed(doubled=a_feature("doubled", "returns").replace("1.0", "2.0"))
    assert {"features", "feature_audit"} <= of_features
    assert not {"raw_bars", "labels", "splits", "models/mine", "models/logistic", "oof_predictions"} & of_features
    of_a_model = changed(net=net + a_model("mine") + "x = 1")
    assert {"models/mine", "oof_predictions"} <= of_a_model
    assert not {"features", "feature_audit", "selection", "models/logistic"} & of_a_model
    of_what_it_imports = changed(helper="x = 2")
    assert "models/mine" in of_what_it_imports
    assert not {"raw_bars", "models/logistic"} & of_what_it_imports


@pytest.mark.parametrize(
    "text",
    [
        "from quant_pipeline.plugins import helper",
        "from quant_pipeline.plugins.helper import x",
        "import quant_pipeline.plugins.helper",
        "from . import helper",
        "from .helper import x",
    ],
)
def test_what_a_plugin_imports_from_beside_it_is_behind_it(plug, text):
    folder = plug(mine=text, helper="x = 1")
    assert closure._imports(folder / "mine.py") == (folder / "helper.py",)


def test_dots_count_inside_the_package(package):
    (package / "rooms" / "dotted.py").write_text("from . import deep\nfrom .inner import value\nfrom ..elsewhere import x\n")
    found = closure._imports(package / "rooms" / "dotted.py")
    assert {path.name for path in found} == {"deep.py", "inner.py", "elsewhere.py"}
