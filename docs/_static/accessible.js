// What furo, copybutton and docutils leave out for people who use a keyboard or a screen reader. tests/docs/
// test_accessible.py looks at the result.
document.addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.ariaLevel = "2";
  const pages = document.querySelector(".sidebar-drawer");
  const contents = document.querySelector(".toc-drawer");
  for (const [aside, name] of [[pages, "Pages"], [contents, "On this page"]]) {
    aside?.setAttribute("aria-label", name);
  }

  // Labels of hidden checkboxes open the asides and the branches of the navigation. Their icons become buttons.
  const press = (label, name, inside) => {
    const box = document.getElementById(label.htmlFor);
    const button = label.querySelector(".icon");
    button.tabIndex = 0;
    button.role = "button";
    button.ariaLabel = name;
    button.ariaExpanded = String(box.checked);
    box.addEventListener("change", () => (button.ariaExpanded = String(box.checked)));
    button.addEventListener("click", (event) => {
      event.preventDefault(); // or the label would press the box again
      box.click();
    });
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      box.click();
      if (box.checked && inside) [...inside.querySelectorAll("a, input")].find((one) => one.checkVisibility())?.focus();
    });
    inside?.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !box.checked || !button.checkVisibility()) return;
      box.click();
      button.focus();
    });
  };
  for (const label of document.querySelectorAll("label.nav-overlay-icon")) press(label, "Pages", pages);
  for (const label of document.querySelectorAll("label.toc-overlay-icon")) press(label, "On this page", contents);
  for (const box of document.querySelectorAll(".toctree-checkbox")) press(box.labels[0], box.ariaLabel);

  // An empty cell heads nothing, and the role of an entry of a bibliography is no longer in use.
  for (const head of document.querySelectorAll("th")) {
    if (head.textContent.trim()) continue;
    const cell = document.createElement("td");
    cell.className = head.className;
    head.replaceWith(cell);
  }
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]")) {
    entry.role = "listitem";
  }

  // What is wider than the page scrolls by keyboard.
  const scroll = () => {
    for (const wide of document.querySelectorAll("pre, .table-wrapper")) {
      if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
      else wide.removeAttribute("tabindex");
    }
  };
  scroll();
  addEventListener("resize", scroll);
});
