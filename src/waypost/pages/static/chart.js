// The chart of the overview: sent and failed, day by day.
(() => {
  "use strict";
  const HALF_DAY_S = 43200; // room for the first and the last bar
  const place = document.getElementById("chart");
  if (!place || typeof uPlot === "undefined") return;
  const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
  let plot = null, days = null;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const draw = () => {
    if (!days) return;
    if (plot) plot.destroy();
    const axis = { stroke: colour("--pico-muted-color"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const bars = uPlot.paths.bars({ size: [0.7, 40] });
    const series = (label, name) => ({ label, stroke: colour(name), fill: colour(name) + "55", width: 1, paths: bars, points: { show: false } });
    plot = new uPlot({
      width: place.clientWidth, height: 220, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      cursor: { drag: { x: false, y: false } },
      scales: { x: { range: (_u, first, last) => [first - HALF_DAY_S, last + HALF_DAY_S] }, y: { range: (_u, _least, most) => [0, Math.max(most, 5) * 1.08] } },
      axes: [{ ...axis, values: (_u, found) => found.map((at) => (at % 86400 ? "" : DAY.format(at * 1000))) }, { ...axis, size: 60, values: (_u, found) => found.map((v) => (v % 1 ? "" : v.toLocaleString())) }],
      series: [{ label: "day", value: "{YYYY}-{MM}-{DD}" }, series("sent", "--good"), series("failed", "--bad")],
    }, [days.t, days.sent, days.failed], place);
  };
  fetch(place.dataset.days, { headers: { Accept: "application/json" } })
    .then((answer) => (answer.ok ? answer.json() : null))
    .then((found) => { days = found; draw(); })
    .catch(() => { place.textContent = "The chart cannot be loaded; the table below has the figures."; });
  let later = 0;
  addEventListener("resize", () => { clearTimeout(later); later = setTimeout(draw, 150); });
  document.addEventListener("themed", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
