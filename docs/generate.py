"""Writes `docs/schema.md` from `sweetspot/schemas.py`: `python docs/generate.py`."""

from pathlib import Path

from sweetspot import schemas


def schema_page() -> str:
    """Every table with its columns, types and meanings."""
    lines = ["# Tables", "", "Generated from `sweetspot/schemas.py` by `python docs/generate.py`.", ""]
    for schema in schemas.TABLES:
        lines += [f"## {schema.name}", "", f"One row: {schema.row}. Key: `{', '.join(schema.key)}`.", ""]
        lines += ["| column | type | null | meaning |", "|---|---|---|---|"]
        for column in schema.columns:
            nullable = "yes" if column.nullable else ""
            lines.append(f"| `{column.name}` | {type_name(column.type)} | {nullable} | {column.meaning} |")
        lines.append("")
    return "\n".join(lines)


def type_name(arrow: object) -> str:
    """A type as people write it."""
    return "messages" if arrow == schemas.MESSAGES else str(arrow).replace("large_string", "text").replace("|", "/")


if __name__ == "__main__":
    Path(__file__).with_name("schema.md").write_text(schema_page())
