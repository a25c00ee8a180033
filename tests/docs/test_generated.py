import importlib.util
import re


def test_the_schema_page_is_what_the_schemas_say(root):
    spec = importlib.util.spec_from_file_location("generate", root / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (root / "docs" / "schema.md").read_text() == module.schema_page(), "run `python docs/generate.py`"


def test_the_readme_names_only_files_that_exist(root):

    links = re.findall(r"\]\(([^)#]+)\)", (root / "README.md").read_text())
    assert links
    assert [link for link in links if not (root / link).exists()] == []
