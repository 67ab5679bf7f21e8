// Live updates: the server says that something changed, and the page takes the new parts of itself.
// Nothing else needs a script. A part is left alone while somebody types in it.
"use strict";
(() => {
  const address = document.body.dataset.live;
  if (!address || !window.EventSource) return;
  const light = document.getElementById("live-light");
  const say = (word) => { if (light) { light.dataset.state = word; light.textContent = word; } };
  let busy = false, again = false;

  const inUse = (part) => {
    const active = document.activeElement;
    if (part.contains(active) && active.matches("input:not([type=hidden]), select, textarea")) return true;
    return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some(
      (field) => field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
  };

  const take = (part, fresh) => {
    if (part.innerHTML === fresh.innerHTML || inUse(part)) return;
    const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.replaceChildren(...fresh.childNodes);
    for (const id of open) { const one = document.getElementById(id); if (one) one.open = true; }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; }
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-part]")) {
          const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
          if (other) take(part, other);
        }
      }
    } catch { /* the stream says when the gateway is back */ } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  };

  let source = null;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("open", () => say("live"));
    source.addEventListener("changed", refresh);
    source.addEventListener("over", () => { source.close(); location.reload(); });
    source.addEventListener("error", () => {
      say("waiting");
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    });
  };
  open();
  // A page that nobody looks at holds no stream.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source.close(); } else if (source.readyState === EventSource.CLOSED) { open(); refresh(); }
  });
})();
