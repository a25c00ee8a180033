"""Pages of the Prefect UI as a person uses them."""

import re

READ_FORM = """() => {
  const property = '.schema-form-property';
  const above = element => element.parentElement.closest(property);
  const input = body => {
    const control = body.querySelector('textarea, input');
    if (!control) return body.innerText;
    return control.type === 'checkbox' ? control.checked : control.value;
  };
  const read = element => {
    const head = element.querySelector(':scope > .p-label__header');
    const body = element.querySelector(':scope > .p-label__body');
    const fields = [...body.querySelectorAll(property)].filter(inner => above(inner) === element);
    return {
      name: head.querySelector('.schema-form-property__label').innerText,
      help: head.querySelector('.schema-form-property__description')?.innerText,
      shown: fields.length ? null : input(body),
      fields: fields.map(read),
    };
  };
  return [...document.querySelectorAll(property)].filter(element => !above(element)).map(read);
}"""


def open_form(page, served, flow: str) -> None:
    """From the list of deployments to the form of FLOW/manual, by clicks."""
    page.goto(f"{served.address}/deployments")
    rows = page.get_by_role("row").filter(has_text=flow)
    rows.get_by_role("link", name="manual", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.get_by_role("button", name="Submit").wait_for()


def setting(page, *names: str):
    """The form's field of a setting, say ("sampling", "n")."""
    found = page
    for name in names:
        label = re.compile(rf"^\s*{name.replace('_', '[ _]')}( \(Optional\))?\s*$", re.IGNORECASE)
        own = page.locator(":scope > .p-label__header .schema-form-property__label", has_text=label)
        found = found.locator(".schema-form-property", has=own)
    return found


def choose(page, field, option: str) -> None:
    """Pick from a list; it opens at its arrow (a click on its text opens it and shuts it at once)."""
    field.locator(".p-select-button__icon").click()
    page.locator(".p-select-option").get_by_text(option, exact=True).click()


def as_key(label: str) -> str:
    """The setting's name from its label."""
    return label.removesuffix(" (Optional)").lower().replace(" ", "_")


def watch_to_its_end(page, timeout_ms: int) -> str:
    """From a submitted form to the run's page; the state it ends in."""
    page.locator("a[href*='/runs/flow-run/']").first.click()
    ended = page.locator(".state-badge", has_text=re.compile("Completed|Failed|Crashed|Cancelled")).first
    ended.wait_for(timeout=timeout_ms)
    return ended.inner_text().strip()


def open_artifact(page, name: str) -> None:
    """From a run's page to the artifact of that name."""
    page.get_by_text("Artifacts", exact=True).last.click()
    card = page.locator("a[href*='/artifacts/artifact/']", has_text=name).first
    card.wait_for()
    card.click()
