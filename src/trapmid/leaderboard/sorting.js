// Sorts the table by the column whose heading is pressed; again, the other way round. Each result is a tbody of two rows.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const down = heading.getAttribute("aria-sort") !== "descending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (body) => body.rows[0].children[heading.cellIndex].dataset.order;
    const table = heading.closest("table");
    const compare = (a, b) => (heading.dataset.numbers ? key(a) - key(b) : key(a).localeCompare(key(b)));
    table.append(...[...table.tBodies].sort((a, b) => (down ? -1 : 1) * compare(a, b)));
  });
}
