"""Every yaml of conf/attack: it calls a public rule, lists its parameters, and they are told."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml

import fl_platform.attacks
from fl_platform.core import Updates

CONF = Path(__file__).parents[2] / "conf" / "attack"
NODES = sorted(CONF.glob("*.yaml"))
ROLE = {"knowledge"}


def load(path):
    node = yaml.safe_load(path.read_text())
    package, name = node.pop("_target_").rsplit(".", 1)
    assert package == "fl_platform.attacks"
    assert name == path.stem
    return getattr(fl_platform.attacks, name), node


def parameters(rule):
    signature = inspect.signature(rule.__init__ if inspect.isclass(rule) else rule, eval_str=True)
    return {k: p for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


KNOWN = {
    "query": lambda honest: lambda rows: honest.extended(rows).mean(),
    "model": lambda honest: torch.linspace(-1, 1, honest.dimension, dtype=honest.dtype),
    "round": lambda honest: 0,
    "layers": lambda honest: (honest.dimension,),
}


def positional(rule):
    call = rule.__call__ if inspect.isclass(rule) else rule
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(call).parameters.items()
    return [name for name, p in found if p.kind in kinds and name != "self"]


def crafted(rule, honest, num_byzantine, **config):
    made = rule(3, **config) if inspect.isclass(rule) else rule
    if inspect.isclass(rule):
        config = {}
    rows = honest if isinstance(honest, Updates) else Updates(torch.randn(5, 3))
    asked = {name: KNOWN[name](rows) for name in positional(rule) if name in KNOWN}
    return made(honest, num_byzantine, **asked, **config)


COLLUDING = [path for path in NODES if positional(load(path)[0])[0] == "honest"]


def named(path):
    return path.stem


def test_every_public_attack_has_its_yaml():
    assert {path.stem for path in NODES} == set(fl_platform.attacks.__all__)


@pytest.mark.parametrize("path", NODES, ids=named)
def test_yaml_and_signature_agree(path):
    rule, node = load(path)
    declared = parameters(rule)
    assert list(node) == [*declared, "knowledge"]
    for name, parameter in declared.items():
        assert node[name] == parameter.default
        assert type(node[name]) is type(parameter.default)
        assert parameter.annotation is not inspect.Parameter.empty
    assert path.read_text().startswith("# fl-platform run attack=" + path.stem)


@pytest.mark.parametrize("path", NODES, ids=named)
def test_the_rule_states_its_facts(path):
    facts = load(path)[0].facts
    assert facts.label
    assert facts.shardable is not None


@pytest.mark.parametrize("path", COLLUDING, ids=named)
def test_a_tensor_is_as_good_as_updates(path):
    rule, node = load(path)
    node.pop("knowledge")
    matrix = torch.randn(8, 11, generator=torch.Generator().manual_seed(1))
    asked = {name: KNOWN[name](Updates(matrix)) for name in positional(rule) if name in KNOWN}
    made = []
    for rows in (matrix, Updates(matrix)):
        instance = rule(3, **node) if inspect.isclass(rule) else rule(**node)
        made.append(instance(rows, 2, **asked))
    assert torch.equal(*made)


@pytest.mark.parametrize("path", NODES, ids=named)
def test_docstring_names_each_parameter_and_its_source(path):
    rule, _ = load(path)
    text = inspect.getdoc(rule)
    for name in parameters(rule):
        assert f"{name}:" in text
    assert "Source:" in text


@pytest.mark.parametrize("path", COLLUDING, ids=named)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "f"), [(8, 2), (1, 3), (2, 2), (3, 5), (9, 0)])
def test_rows_have_the_right_shape_are_finite_and_leave_the_honest_alone(path, dtype, h, f):
    rule, node = load(path)
    node.pop("knowledge")
    honest = Updates(torch.randn(h, 11, dtype=dtype, generator=torch.Generator().manual_seed(h)))
    before = honest.matrix.clone()
    sent = crafted(rule, honest, f, **node)
    assert sent.shape == ((0, 11) if path.stem == "absent" else (f, 11))
    assert sent.dtype == dtype
    assert path.stem == "inf" or sent.isfinite().all()
    assert torch.equal(honest.matrix, before)
    if sent.numel():
        assert sent.data_ptr() != honest.matrix.data_ptr()


@pytest.mark.parametrize("path", COLLUDING, ids=named)
def test_equal_arguments_give_equal_bits(path):
    rule, node = load(path)
    node.pop("knowledge")
    matrix = torch.randn(8, 11, generator=torch.Generator().manual_seed(1))
    first = crafted(rule, Updates(matrix), 2, **node)
    assert torch.equal(first, crafted(rule, Updates(matrix.clone()), 2, **node))


@pytest.mark.parametrize("path", COLLUDING, ids=named)
def test_what_is_no_updates_or_no_count_is_refused(path):
    rule, node = load(path)
    node.pop("knowledge")
    honest = Updates(torch.randn(5, 3))
    with pytest.raises(TypeError, match=r"honest as an .* tensor or .*Updates, got list"):
        crafted(rule, honest.matrix.tolist(), 1, **node)
    with pytest.raises(TypeError, match="Expected num_byzantine as an int, got float"):
        crafted(rule, honest, 1.0, **node)
    with pytest.raises(TypeError, match="Expected num_byzantine as an int, got bool"):
        crafted(rule, honest, True, **node)
    with pytest.raises(ValueError, match="Expected num_byzantine >= 0, got -1"):
        crafted(rule, honest, -1, **node)


@pytest.mark.parametrize(
    "path", [path for path in NODES if positional(load(path)[0])[0] == "update"], ids=named
)
def test_what_is_no_update_is_refused(path):
    rule, _ = load(path)
    for wrong in (torch.randn(2, 3), torch.ones(3, dtype=torch.int64), [1.0]):
        with pytest.raises(ValueError, match="Expected an update of shape"):
            rule(wrong)


def test_the_contract_notices_a_yaml_that_disagrees(tmp_path):
    text = (CONF / "ipm.yaml").read_text()
    wrong = tmp_path / "ipm.yaml"
    for bad in (text.replace("0.1", "0.2"), text.replace("scale", "factor"), "#\n" + text):
        wrong.write_text(bad)
        with pytest.raises((AssertionError, KeyError)):
            test_yaml_and_signature_agree(wrong)


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_presets_name_attacks_and_parameters_that_exist(preset):
    rules = yaml.safe_load((CONF.parent / "preset" / f"{preset}.yaml").read_text())["rules"]
    named_here = set(rules) & set(fl_platform.attacks.__all__)
    assert {"lie", "min_max", "min_sum", "mimic", "strike"} <= named_here
    for name in named_here:
        rule, _ = load(CONF / f"{name}.yaml")
        assert set(rules[name]) <= set(parameters(rule))
        honest = Updates(torch.randn(8, 11, generator=torch.Generator().manual_seed(1)))
        assert crafted(rule, honest, 2, **rules[name]).shape == (2, 11)
