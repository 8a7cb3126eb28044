
"use strict";
// Tables with a name can be sorted, filtered and saved. Without this script they are read as they stand.
const SHOWN = 20;
const made = (tag, properties, ...inside) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
};
const numberIn = (text) => parseFloat(text.replace("–", ""));

for (const box of document.querySelectorAll("[data-name]")) {
  const name = box.dataset.name, table = box.querySelector("table"), body = table.tBodies[0];
  const rows = [...body.rows], heads = [...table.tHead.rows[0].cells], names = heads.map((head) => head.textContent);
  const told = made("output", {}), filter = made("input", { type: "search" });
  const by = made("select", {}, made("option", { value: "", textContent: "as given" }));

  const show = () => {
    const wanted = filter.value.toLowerCase();
    const found = [...body.rows].filter((row) => {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      return !row.hidden;
    });
    found.forEach((row, place) => row.classList.toggle("more", place >= SHOWN));
    const cut = table.classList.contains("short") ? Math.min(SHOWN, found.length) : found.length;
    told.textContent = `${cut} of ${rows.length} rows`;
  };
  const sort = (column, direction) => {
    const sign = direction === "descending" ? -1 : 1;
    const order = (one, other) => {
      const [a, b] = [one, other].map((row) => row.cells[column].textContent);
      const [x, y] = [numberIn(a), numberIn(b)];
      if (isNaN(x) || isNaN(y)) return isNaN(x) && isNaN(y) ? sign * a.localeCompare(b) : isNaN(x) ? 1 : -1;
      return sign * (x - y) || sign * a.localeCompare(b, undefined, { numeric: true });
    };
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (column >= 0) heads[column].setAttribute("aria-sort", direction);
    body.append(...(column >= 0 ? [...rows].sort(order) : rows));
    show();
  };
  const save = () => {
    const lines = [names, ...[...body.rows].filter((row) => !row.hidden).map((row) => [...row.cells].map((c) => c.textContent))];
    const quoted = (text) => `"${(/^[=+@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
    const text = lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
    const link = made("a", { download: `${name}.csv`, href: URL.createObjectURL(new Blob(["\ufeff" + text], { type: "text/csv" })) });
    link.click();
    URL.revokeObjectURL(link.href);
  };

  heads.forEach((head, column) => {
    const click = () => sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
    head.replaceChildren(made("button", { type: "button", textContent: names[column], onclick: click }));
    by.append(made("option", { value: column, textContent: names[column] }));
  });
  for (const row of rows) {
    [...row.cells].forEach((cell, column) => {
      cell.dataset.label = names[column];
      cell.classList.toggle("long", cell.textContent.length > 30);
    });
  }
  const tools = made("div", { className: "tools" }, made("label", {}, "Filter ", filter),
    made("label", { className: "narrow" }, "Sort by ", by),
    made("button", { type: "button", textContent: "Save as CSV", onclick: save }), told);
  if (rows.length > SHOWN) {
    table.classList.add("short");
    const more = made("button", { type: "button", textContent: "Show all" });
    more.onclick = () => {
      more.textContent = table.classList.toggle("short") ? "Show all" : `Show ${SHOWN}`;
      show();
    };
    told.before(more);
  }
  filter.oninput = show;
  by.onchange = () => sort(by.value === "" ? -1 : Number(by.value), "ascending");
  box.before(tools);
  show();
}
