
"use strict";
const byId = (id) => document.getElementById(id);
const body = byId("owners").tBodies[0];
const rows = [...body.rows].map((row) => ({
  row,
  text: row.textContent.toLowerCase(),
  controls: row.dataset.controls.split(" "),
  ...row.dataset,
}));
const inputs = ["search", "namespace", "control", "which"].map(byId);
const bars = [...document.querySelectorAll(".bar")];

function matches(one, [search, namespace, control, which]) {
  return (
    one.text.includes(search) &&
    (!namespace || one.namespace === namespace) &&
    (!control || one.controls.includes(control)) &&
    (!which || one.which === which)
  );
}

function filter() {
  const values = inputs.map((input) => input.value);
  values[0] = values[0].trim().toLowerCase();
  let shown = 0;
  for (const one of rows) {
    one.row.hidden = !matches(one, values);
    shown += one.row.hidden ? 0 : 1;
  }
  byId("shown").textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} owners`;
  byId("nothing").hidden = shown > 0 || rows.length === 0;
  for (const bar of bars) bar.setAttribute("aria-pressed", String(bar.dataset.control === values[2]));
}

function sort(heading) {
  const column = heading.cellIndex;
  const isNumber = heading.classList.contains("n");
  const isDescending = heading.hasAttribute("aria-sort") ? heading.ariaSort === "ascending" : isNumber;
  const value = ({ row }) => (isNumber ? Number(row.cells[column].dataset.value) : row.cells[column].textContent);
  const sign = isDescending ? -1 : 1;
  const compare = isNumber ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b), "en");
  rows.sort((a, b) => sign * compare(a, b));
  body.append(...rows.map(({ row }) => row));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
}

for (const input of inputs) input.addEventListener("input", filter);
for (const bar of bars) {
  bar.addEventListener("click", () => {
    byId("control").value = bar.getAttribute("aria-pressed") === "true" ? "" : bar.dataset.control;
    filter();
  });
}
for (const button of document.querySelectorAll("#owners th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("reset").addEventListener("click", () => {
  byId("filter").reset();
  filter();
});
byId("filter").hidden = rows.length === 0;
filter();
