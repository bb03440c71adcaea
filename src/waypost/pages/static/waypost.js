// What the pages can do beyond plain HTML. Each works without it, only less comfortably.
(() => {
  "use strict";
  const all = (query, root) => [...(root || document).querySelectorAll(query)];

  // Times: relative to now, absolute in the reader's zone when pointed at.
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [2592000, "day", 86400]];
  const tell = (at) => {
    const away = (at - Date.now()) / 1000;
    if (Math.abs(away) < 5) return away > 0 ? "now" : "just now";
    for (const [most, unit, length] of STEPS)
      if (Math.abs(away) < most) return relative.format(Math.round(away / length), unit);
    return new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(at);
  };
  const times = (root) => {
    for (const time of all("time[datetime]", root)) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      const text = tell(at), title = absolute.format(at);
      if (time.textContent !== text) time.textContent = text;
      if (time.title !== title) time.title = title;
    }
  };
  setInterval(() => times(), 15000);

  // Buttons that copy what stands beside them.
  const copying = (root) => { if (navigator.clipboard) for (const b of all("[data-copy]", root)) b.hidden = false; };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("[data-copy-text]").textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });

  // Selects that submit their form; forms that ask first; one submit a form.
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sure && !confirm(form.dataset.sure)) { event.preventDefault(); return; }
    if (form.method === "post" && !form.hasAttribute("hx-post"))
      for (const button of all("button", form)) setTimeout(() => { button.disabled = true; }, 0);
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) for (const button of all("form button")) button.disabled = false;
  });
  document.addEventListener("click", (event) => {
    const back = event.target.closest("[data-back]");
    if (back && history.length > 1 && back.textContent.trim() === "Go back") { event.preventDefault(); history.back(); }
  });

  // Light and dark.
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = (root) => {
    for (const toggle of all("[data-theme-toggle]", root)) {
      toggle.hidden = false;
      toggle.textContent = dark() ? "☀" : "☾";
      toggle.onclick = () => {
        const next = dark() ? "light" : "dark";
        document.documentElement.dataset.theme = next;
        try { localStorage.setItem("theme", next); } catch (_) { /* for this page alone */ }
        theme();
        document.dispatchEvent(new CustomEvent("themed"));
      };
    }
  };

  // Keyboard: `/` searches, `j` and `k` move through the rows marked data-row, Enter opens.
  let row = -1;
  const move = (by) => {
    const rows = all("[data-row]");
    if (!rows.length) return;
    rows[row]?.classList.remove("at");
    row = Math.max(0, Math.min(rows.length - 1, row + by));
    rows[row].classList.add("at");
    rows[row].scrollIntoView({ block: "nearest" });
    rows[row].querySelector("a")?.focus({ preventScroll: true });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (event.key === "Escape") for (const open of all("details.me[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
    if (typing) return;
    if (event.key === "/") {
      const search = document.querySelector("main [data-search]") || document.querySelector("[data-search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    } else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
  });

  // Menus close when one clicks elsewhere.
  document.addEventListener("click", (event) => {
    for (const open of all("details.me[open]")) if (!open.contains(event.target)) open.open = false;
  });

  // Where the menu or the tabs are wider than the window, the present one is in sight.
  for (const at of all("nav.side [aria-current], nav.tabs [aria-current]")) {
    const nav = at.closest("nav");
    nav.scrollLeft = at.offsetLeft - nav.offsetLeft - (nav.clientWidth - at.offsetWidth) / 2;
  }

  // What scrolls sideways can be reached with the keyboard, as long as it does.
  const reach = () => {
    for (const box of all(".table")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);

  const dress = (root) => { times(root); copying(root); theme(root); reach(); };
  document.addEventListener("htmx:load", (event) => dress(event.target));
  dress();
})();
