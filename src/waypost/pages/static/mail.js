// The mail screens: lines that come live, choosing many, and a connection test step by step.
(() => {
  "use strict";
  const all = (query, root) => [...(root || document).querySelectorAll(query)];
  const KEPT = 500; // rows of a list that stays open

  const bulk = document.querySelector("[data-bulk]");

  // The log, live while it is open.
  const lines = document.querySelector("[data-live]");
  if (lines && window.EventSource) {
    const address = new URL(lines.dataset.live, location.href);
    const open = () => {
      const source = new EventSource(address);
      source.addEventListener("lines", (event) => {
        address.searchParams.set("after", event.lastEventId);
        const part = document.createElement("template");
        part.innerHTML = event.data;
        for (const row of [...part.content.querySelectorAll("tr[data-id]")].reverse()) {
          const shown = lines.querySelector(`[data-id="${CSS.escape(row.dataset.id)}"]`);
          row.classList.add("fresh");
          if (shown) {
            const box = row.querySelector("input"), was = shown.querySelector("input");
            if (box && was) box.checked = was.checked;
            shown.replaceWith(row);
          } else lines.prepend(row);
          row.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true }));
        }
        const shown = all("tr[data-id]", lines);
        for (const row of shown.slice(KEPT)) row.remove();
        const table = lines.closest(".table");
        if (table && shown.length) {
          table.hidden = false;
          if (bulk) bulk.hidden = false;
          for (const empty of all("main .empty")) empty.remove();
        }
        choose();
      });
      source.onerror = async () => {
        const refused = source.readyState === EventSource.CLOSED;
        source.close();
        setTimeout(open, refused ? 30000 : 2000);
        if (!refused) return;
        // Whoever is logged out elsewhere is not left with a page that looks alive.
        const page = await fetch(location.href, { method: "HEAD" }).catch(() => null);
        if (page && page.redirected && new URL(page.url).pathname === "/login") location.reload();
      };
      addEventListener("pagehide", () => source.close(), { once: true });
    };
    open();
  }

  // A message that waits is shown anew when something has become of it.
  const watched = document.querySelector("[data-watch]");
  if (watched) {
    let looks = 120;
    const look = async () => {
      const page = document.hidden ? null : await fetch(location.href).then((a) => (a.ok ? a.text() : null)).catch(() => null);
      if (page !== null) {
        const now = new DOMParser().parseFromString(page, "text/html").querySelector("[data-watch]");
        if (!now || now.dataset.watch !== watched.dataset.watch) { location.reload(); return; }
      }
      if (--looks) setTimeout(look, 5000);
    };
    setTimeout(look, 1500);
  }

  // Choosing rows for a deed on many.
  const every = document.querySelector("[data-all]");
  const boxes = () => all("input[name=id][form=bulk]");
  function choose() {
    if (!bulk) return;
    const count = boxes().filter((box) => box.checked).length;
    bulk.querySelector("[data-chosen]").textContent = count ? `${count} chosen:` : "Choose messages:";
    for (const button of all("button", bulk)) button.disabled = !count;
    if (every) every.hidden = false;
  }
  if (every) every.addEventListener("change", () => { for (const box of boxes()) box.checked = every.checked; choose(); });
  document.addEventListener("change", (event) => { if (event.target.matches("input[name=id][form=bulk]")) choose(); });
  choose();

  // A form whose work is told step by step, as lines of JSON: {html} is added, {go} leads on.
  for (const form of all("form[data-steps]")) {
    const place = document.getElementById(form.dataset.into);
    form.addEventListener("submit", async (event) => {
      const button = event.submitter;
      const steps = (button && button.dataset.steps) || form.dataset.steps;
      if (event.defaultPrevented || !place || (button && button.hasAttribute("data-plain"))) return;
      event.preventDefault();
      const buttons = all("button", form);
      setTimeout(() => { for (const one of buttons) one.disabled = true; }, 0);
      place.replaceChildren();
      place.hidden = false;
      place.setAttribute("aria-busy", "true");
      let going = false;
      const take = (line) => {
        if (!line) return;
        const told = JSON.parse(line);
        if (told.go) { going = true; location.assign(told.go); return; }
        const part = document.createElement("template");
        part.innerHTML = told.html;
        const into = told.into ? place.querySelector(told.into) : place;
        (into || place).append(part.content);
        place.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true }));
        place.scrollIntoView({ block: "nearest" });
      };
      try {
        const body = new URLSearchParams(new FormData(form));
        if (button && button.name) body.append(button.name, button.value);
        const answer = await fetch(steps, { method: "POST", body, headers: { "HX-Request": "true" } });
        if (!(answer.headers.get("Content-Type") || "").includes("ndjson")) throw new Error(String(answer.status));
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { done, value } = await reader.read();
          const parts = (rest + (value || "")).split("\n");
          rest = done ? "" : parts.pop();
          parts.forEach(take);
          if (done) break;
        }
      } catch (_) {
        place.textContent = "The test could not be followed: load the page again and try once more.";
      }
      place.removeAttribute("aria-busy");
      if (going) return;
      for (const one of buttons) one.disabled = false;
      if (button && document.activeElement === document.body) button.focus({ preventScroll: true });
    });
  }

  // A preset fills the form; what was typed stays until another preset is chosen.
  const preset = document.querySelector("select[data-preset]");
  if (preset) {
    const form = preset.form;
    const set = (name, value) => { const field = form.elements[name]; if (field) field.value = value ?? ""; };
    const hints = document.getElementById("hints");
    const fill = () => {
      const chosen = preset.selectedOptions[0].dataset;
      const domain = (form.elements.sender?.value || "").split("@")[1] || "";
      set("host", (chosen.host || "").replace("{domain}", domain));
      set("port", chosen.port);
      set("encryption", chosen.encryption);
      for (const name of ["connections", "per_connection", "per_minute", "recipients", "daily_cap"]) set(name, chosen[name]);
      tell(JSON.parse(chosen.hints || "[]"));
    };
    const tell = (texts) => {
      if (!hints) return;
      hints.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    };
    preset.addEventListener("change", fill);
    const follow = { starttls: "587", tls: "465", none: "25" };
    form.elements.encryption?.addEventListener("change", (event) => {
      if (Object.values(follow).includes(form.elements.port.value)) set("port", follow[event.target.value]);
    });
    // The address tells the provider, by its DNS.
    const sender = form.elements.sender, found = document.getElementById("detected");
    if (sender && preset.dataset.detect) sender.addEventListener("change", async () => {
      if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(sender.value)) return;
      // After the focus has moved: what is about to be typed into is left alone.
      setTimeout(() => {
        const [local, domain] = [sender.value, sender.value.split("@")[1]];
        for (const [field, text] of [[form.elements.username, local], [form.elements.name, domain]])
          if (field && !field.value && field !== document.activeElement) field.value = text;
      }, 0);
      if (form.elements.host.value) return;
      found.textContent = "Looking up the provider…";
      try {
        const answer = await fetch(`${preset.dataset.detect}?address=${encodeURIComponent(sender.value)}`);
        const told = await answer.json();
        if (!answer.ok || told.error || form.elements.host.value) { found.textContent = told.error || ""; return; }
        preset.value = told.preset;
        fill();
        if (told.host) set("host", told.host);
        set("port", told.port);
        set("encryption", told.encryption);
        found.textContent = told.foundBy === "guess" ? "The provider is not known: check host and port." : `This looks like ${told.title}: the form was filled for it.`;
      } catch (_) { found.textContent = ""; }
    });
  }
})();
