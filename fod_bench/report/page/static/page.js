// Sorting, filtering, galleries. The pages are whole without it: it only hides, orders and marks what is there.
"use strict";

const FILTERS = ["dataset", "category", "row", "metric"];
const state = () => new URLSearchParams(location.hash.slice(1));

function remember(changes) {
  const now = state();
  for (const [name, value] of Object.entries(changes)) value ? now.set(name, value) : now.delete(name);
  history.replaceState(null, "", "#" + now);
}

// ---- sorting ----

function value(row, column) {
  const cell = row.cells[column];
  if (cell === undefined) return null;
  if ("order" in cell.dataset) return Number(cell.dataset.order);
  if (cell.tagName === "TH" || cell.classList.contains("text")) return cell.textContent.trim();
  return null; // there is no number
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sort(table, header) {
  const downwards = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", downwards ? "descending" : "ascending");
  const column = Number(header.dataset.column);
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const place = (row) => (value(row, column) === null ? 1 : 0) + (row.classList.contains("mean") ? 2 : 0);
    rows.sort((a, b) => place(a) - place(b) || (place(a) % 2 ? 0 : compare(value(a, column), value(b, column)) * (downwards ? -1 : 1)));
    body.append(...rows);
  }
}

for (const header of document.querySelectorAll("table.results thead th[data-column]")) {
  header.querySelector("button").addEventListener("click", () => sort(header.closest("table"), header));
}

// ---- filters ----

function asked(cell, name) {
  return cell.dataset[name] ?? cell.parentElement.dataset[name];
}

function fits(cell, chosen) {
  return chosen.every(([name, wanted]) => asked(cell, name) === undefined || asked(cell, name) === wanted);
}

function filterTable(table, chosen) {
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("section"));
  const described = (cell) => asked(cell, "row") !== undefined;
  const columns = new Set();
  let shown = 0;
  for (const row of rows) {
    const cells = [...row.cells].filter((cell) => cell.tagName === "TD" && described(cell));
    const fitting = cells.filter((cell) => fits(cell, chosen));
    row.hidden = chosen.length > 0 && fitting.length === 0;
    shown += row.hidden ? 0 : 1;
    for (const cell of fitting) columns.add(cell.cellIndex);
    for (const cell of cells) cell.classList.toggle("other", !fits(cell, chosen));
  }
  const headers = [...table.tHead.querySelectorAll("th[data-column]")];
  const described_columns = new Set(rows.flatMap((row) => [...row.cells].filter((cell) => cell.tagName === "TD" && described(cell)).map((cell) => cell.cellIndex)));
  const hidden = (column) => chosen.length > 0 && described_columns.has(column) && !columns.has(column);
  for (const header of headers) header.hidden = hidden(Number(header.dataset.column));
  for (const row of rows) for (const cell of row.cells) cell.hidden = hidden(cell.cellIndex);
  for (const group of table.tHead.querySelectorAll("[data-from]")) {
    const from = Number(group.dataset.from);
    const left = [...Array(Number(group.dataset.count)).keys()].filter((step) => !hidden(from + step)).length;
    group.hidden = left === 0;
    if (left) group.colSpan = left;
  }
  for (const body of table.tBodies) body.hidden = [...body.rows].every((row) => row.hidden || row.classList.contains("section"));
  table.closest("section").hidden = shown === 0;
  return shown;
}

const filters = document.querySelector("form.filters[data-counted]");
if (filters) {
  filters.hidden = false;
  const counted = filters.getAttribute("data-counted"); // `filters.dataset` is the select of that name
  const selects = FILTERS.map((name) => filters.elements[name]).filter((select) => select !== undefined);
  const tables = [...document.querySelectorAll("table.results")];
  const apply = () => {
    const chosen = selects.filter((select) => select.value).map((select) => [select.name, select.value]);
    const shown = tables.map((table) => filterTable(table, chosen));
    const many = counted === "table" ? shown.filter(Boolean).length : shown.reduce((a, b) => a + b, 0);
    filters.querySelector(".count").textContent = `${many} ${counted}${many === 1 ? "" : "s"} shown`;
  };
  const follow = () => {
    const wanted = state();
    for (const select of selects) {
      const known = [...select.options].some((option) => option.value === wanted.get(select.name));
      select.value = known ? wanted.get(select.name) : "";
    }
    apply();
  };
  filters.addEventListener("change", () => {
    remember(Object.fromEntries(selects.map((select) => [select.name, select.value])));
    apply();
  });
  filters.addEventListener("reset", () => setTimeout(() => {
    remember(Object.fromEntries(selects.map((select) => [select.name, ""])));
    follow();
  }));
  filters.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", follow);
  follow();
}

// ---- plots of cost against quality ----

for (const section of document.querySelectorAll("section.pairs")) {
  const form = section.querySelector("form");
  const show = () => {
    for (const pair of section.querySelectorAll(".pair")) {
      pair.hidden = pair.dataset.cost !== form.elements.cost.value || pair.dataset.quality !== form.elements.quality.value;
    }
  };
  form.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}

// ---- galleries ----

const content = document.getElementById("gallery");
if (content) gallery(JSON.parse(content.textContent));

function gallery({ labels, rows }) {
  const form = document.getElementById("choice");
  const shown = document.getElementById("shown");
  const beside = document.getElementById("beside");
  const main = document.getElementById("main");
  const sections = [...document.querySelectorAll("section.row")];
  const digits = (score) => Number(score.toPrecision(4)).toString();

  const verdict = (row, image) => {
    const taken = rows[row].scores[image] >= rows[row].threshold;
    return labels[image] ? (taken ? "found" : "missed") : (taken ? "alarm" : "passed");
  };

  function mark(element, row, image) {
    const found = verdict(row, image);
    element.className = "verdict " + found;
    element.textContent = found === "alarm" ? "false alarm" : found;
  }

  function judge(row) {
    const section = sections[row];
    const counts = { found: 0, missed: 0, alarm: 0, passed: 0 };
    labels.forEach((_, image) => { counts[verdict(row, image)] += 1; });
    const cells = section.querySelectorAll(".counts td:not(:empty)");
    [counts.found, counts.missed, counts.alarm, counts.passed].forEach((count, at) => { cells[at].textContent = count; });
    section.querySelector("output").textContent = digits(rows[row].threshold);
    section.querySelector("input[type=range]").setAttribute("aria-valuetext", digits(rows[row].threshold));
    const plot = section.querySelector("svg.histogram");
    const { left, right, low, high } = Object.fromEntries(Object.entries(plot.dataset).map(([name, text]) => [name, Number(text)]));
    const share = Math.min(1, Math.max(0, (rows[row].threshold - low) / (high - low)));
    const line = plot.querySelector(".chosen");
    line.setAttribute("d", line.getAttribute("d").replace(/^M[\d.]+/, "M" + (left + share * (right - left)).toFixed(1)));
    for (const element of document.querySelectorAll(`.verdict[data-of="${row}"]`)) mark(element, row, Number(element.closest(".item").dataset.image));
  }

  function tile(row, item) {
    const image = item.dataset.image;
    const made = item.querySelector(".tile.map").cloneNode(true);
    const map = made.querySelector(".heat");
    made.classList.add("second-map");
    made.querySelector(".who").textContent = rows[row].label;
    const caption = made.querySelector("figcaption");
    caption.childNodes[1].textContent = ` ${digits(rows[row].scores[image])} `;
    made.querySelector(".verdict").dataset.of = row;
    mark(made.querySelector(".verdict"), row, image);
    if (rows[row].maps[image]) {
      map.src = rows[row].maps[image];
      map.alt = `score map of ${rows[row].label} over ${item.querySelector("h4").textContent}`;
    } else {
      map.remove();
      caption.append(" (its map is not on this page)");
    }
    item.querySelector(".tiles").append(made);
  }

  function choose() {
    const wanted = state();
    shown.value = rows[wanted.get("row")] ? wanted.get("row") : "0";
    if (beside) beside.value = rows[wanted.get("beside")] ? wanted.get("beside") : "";
    sections.forEach((section, row) => { section.hidden = String(row) !== shown.value; });
    for (const made of document.querySelectorAll(".second-map")) made.remove();
    const other = beside ? beside.value : "";
    main.classList.toggle("compared", other !== "");
    if (other !== "") for (const item of sections[Number(shown.value)].querySelectorAll(".item")) tile(Number(other), item);
  }

  sections.forEach((section, row) => {
    const slider = section.querySelector("input[type=range]");
    const low = Math.min(...rows[row].scores), high = Math.max(...rows[row].scores);
    const step = (high - low || 1) / 1000;
    for (const element of section.querySelectorAll(".verdict")) element.dataset.of = row;
    slider.disabled = false;
    slider.value = Math.round((rows[row].threshold - low) / step);
    slider.addEventListener("input", () => { rows[row].threshold = low + Number(slider.value) * step; judge(row); });
    judge(row);
  });
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  shown.addEventListener("change", () => { remember({ row: shown.value }); choose(); });
  if (beside) beside.addEventListener("change", () => { remember({ beside: beside.value }); choose(); });
  document.getElementById("strength").addEventListener("input", (event) => main.style.setProperty("--strength", event.target.value / 100));
  for (const name of ["outlined", "large"]) document.getElementById(name).addEventListener("change", (event) => main.classList.toggle(name, event.target.checked));
  addEventListener("hashchange", choose);
  choose();
}
