"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const names = JSON.parse(document.getElementById("palette").textContent);
  const root = document.documentElement;
  const drawn = new Map(); // element -> figure

  const clone = (node, colours) => {
    if (typeof node === "string") return colours[node] ?? node;
    if (Array.isArray(node)) return node.map((part) => clone(part, colours));
    if (node && typeof node === "object") return Object.fromEntries(Object.entries(node).map(([key, part]) => [key, clone(part, colours)]));
    return node;
  };
  const merge = (base, over) => {
    for (const [key, part] of Object.entries(over)) {
      base[key] = part && typeof part === "object" && !Array.isArray(part) && base[key] ? merge(base[key], part) : part;
    }
    return base;
  };
  const palette = () => {
    const style = getComputedStyle(root);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(name).trim()]));
  };
  const axis = () => ({ gridcolor: "--line", zerolinecolor: "--line", linecolor: "--line", tickcolor: "--line", automargin: true, title: { font: { size: 12 }, standoff: 8 } });
  const base = () => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "--muted" },
    margin: { l: 56, r: 16, t: 28, b: 36 }, dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "--muted", activecolor: "--ink" },
    hoverlabel: { bgcolor: "--panel", bordercolor: "--line", font: { color: "--ink", size: 12, family: getComputedStyle(document.body).fontFamily }, align: "left" },
    xaxis: axis(), yaxis: axis(), yaxis2: axis(),
  });
  // The buttons are named one by one because plotly's own row has one that uploads the chart.
  const config = {
    displaylogo: false, responsive: true, plotlyServerURL: "", toImageButtonOptions: { format: "svg" },
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  const draw = (element, figure) => {
    drawn.set(element, figure);
    const layout = merge(base(), JSON.parse(JSON.stringify(figure.layout)));
    if (!figure.layout.yaxis2) delete layout.yaxis2;
    const colours = palette();
    return Plotly.react(element, clone(figure.data, colours), clone(layout, colours), config);
  };
  const redraw = () => drawn.forEach((figure, element) => draw(element, figure));

  // Trades on candles: a symbol, and views of it.
  const chooser = document.getElementById("candle-symbol");
  const buttons = document.getElementById("candle-views");
  const note = document.getElementById("candle-note");
  const showView = (view) => {
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.textContent === view.label));
    note.textContent = view.note;
    draw(document.getElementById("chart-candles"), view.figure);
  };
  const showSymbol = (index) => {
    const { views } = figures.candles[index];
    buttons.replaceChildren(...views.map((view) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = view.label;
      button.addEventListener("click", () => showView(view));
      return button;
    }));
    showView(views[0]);
  };

  const log = document.getElementById("log");
  log?.addEventListener("click", () => {
    const isLog = log.getAttribute("aria-pressed") !== "true";
    log.setAttribute("aria-pressed", String(isLog));
    const axisOfEquity = figures.charts.equity.layout.yaxis;
    axisOfEquity.type = isLog ? "log" : "linear";
    draw(document.getElementById("chart-equity"), figures.charts.equity);
  });

  // Light, dark, or what the system says.
  const theme = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  theme?.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % 3];
    root.dataset.theme = next;
    theme.textContent = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[next];
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // The trade list: sorted by a click on a heading, narrowed by what is typed.
  const list = document.getElementById("trade-list");
  if (list) {
    const body = list.tBodies[0];
    list.tHead.addEventListener("click", (event) => {
      const heading = event.target.closest("th");
      if (!heading) return;
      const descending = heading.getAttribute("aria-sort") !== "descending";
      for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const place = heading.cellIndex, sign = descending ? -1 : 1;
      const keys = new Map([...body.rows].map((row) => {
        const cell = row.cells[place];
        return [row, cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v)];
      }));
      const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
      body.append(...[...body.rows].sort((a, b) => sign * order(keys.get(a), keys.get(b))));
    });
    const filter = document.getElementById("trade-filter");
    filter?.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      for (const row of body.rows) row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
    });
  }

  // One chart after the other, so that the page can be read while they appear.
  const jobs = Object.entries(figures.charts).map(([name, figure]) => () => draw(document.getElementById(`chart-${name}`), figure));
  if (figures.candles.length) {
    chooser?.addEventListener("change", () => showSymbol(chooser.selectedIndex));
    jobs.splice(1, 0, () => showSymbol(0));
  }
  const next = () => { const job = jobs.shift(); if (job) { job(); setTimeout(next); } else document.body.dataset.ready = "true"; };
  next();
})();
