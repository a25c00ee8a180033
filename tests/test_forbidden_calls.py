"""Rules over our own source that no review has to remember: each is shown to catch what it is for."""

import ast
from pathlib import Path

import pytest

PACKAGES = ("sweetspot", "tasks", "flows")
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN = {
    "torch.load": "weights that run code; use safetensors",
    "yaml.load": "tags that build objects; use yaml.safe_load",
    "yaml.full_load": "tags that build objects; use yaml.safe_load",
    "yaml.unsafe_load": "tags that build objects; use yaml.safe_load",
    "pd.read_pickle": "code in data",
    "pandas.read_pickle": "code in data",
    "eval": "code in text",
    "exec": "code in text",
    "compile": "code in text",
    "__import__": "code by name",
    "os.system": "a shell; use subprocess with a list",
    "os.popen": "a shell; use subprocess with a list",
    "tempfile.mktemp": "a name somebody else may take; use mkstemp",
    "hashlib.md5": "a broken hash",
    "hashlib.sha1": "a broken hash",
    "urllib.request.urlretrieve": "a fetch without limits",
}
ADDRESSES = ("0.0.0.0", "[::]")
FIXED = {"shell": True, "trust_remote_code": True, "allow_pickle": True, "weights_only": False}


def name_of(node: ast.expr) -> str:
    """a.b.c of an attribute chain."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def broken_rules(source: str):
    """Line and rule of everything in a source that our rules forbid."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            names = {module.split(".")[0] for module in modules}
            if names & PICKLES:
                yield node.lineno, "imports pickles"
        if isinstance(node, ast.Constant) and node.value in ADDRESSES:
            yield node.lineno, "listens on every address"
        if isinstance(node, ast.Call):
            yield from broken_by_call(node)


def broken_by_call(node: ast.Call):
    """What is wrong with one call."""
    name = name_of(node.func)
    if name in FORBIDDEN:
        yield node.lineno, f"{name}: {FORBIDDEN[name]}"
    if name.split(".")[0] in PICKLES:
        yield node.lineno, "pickles"
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("exists", "isfile"):
        yield node.lineno, "asks whether a file exists: the answer is old before it is used; create it exclusively"
    for keyword in node.keywords:
        if (
            keyword.arg in FIXED
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value == FIXED[keyword.arg]
        ):
            yield node.lineno, f"{keyword.arg}={keyword.value.value}"


def files(root: Path):
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def test_our_source_breaks_no_rule(root):
    found = [f"{path}:{line}: {rule}" for path in files(root) for line, rule in broken_rules(path.read_text())]
    assert found == []
    assert len(files(root)) > 80


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "import dill as safe",
        "torch.load('x')",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval('1')",
        "x = exec(text)",
        "if fs.exists(path): pass",
        "os.path.exists(path)",
        "pathlib.Path(p).exists()",
        "socket.create_server(('0.0.0.0', 1))",
        "run(cmd, shell=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "np.load(f, allow_pickle=True)",
        "pd.read_pickle(f)",
        "os.system('x')",
        "hashlib.md5(x)",
    ],
)
def test_every_rule_catches_what_it_is_for(source):
    assert list(broken_rules(source))


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "yaml.safe_load(t)", "json.load(f)", "re.compile('x')", "path.is_file()", "x = '0.0.0.1'"],
)
def test_what_is_fine_is_left_alone(source):
    assert not list(broken_rules(source))
