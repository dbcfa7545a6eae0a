// Spares clicks; every page works without it.
"use strict";

// A part of a page that is asked for again and again, while somebody looks.
function keepLive(part, pause) {
  const EVERY = 2000;
  let paused = false;

  async function once() {
    if (!paused && !document.hidden) {
      try {
        const answer = await fetch(part.dataset.from, { headers: { Accept: "text/html" } });
        if (answer.status === 401) return location.reload();
        if (answer.ok) replace(await answer.text());
        part.dataset.stale = String(!answer.ok);
      } catch {
        part.dataset.stale = "true";
      }
    }
    setTimeout(once, EVERY);
  }

  // Not while somebody reads it from within: the focus would be lost.
  function replace(text) {
    if (part.contains(document.activeElement)) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    part.replaceChildren(...fresh.childNodes);
  }

  pause.hidden = false;
  pause.setAttribute("aria-pressed", "false");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
  });
  setTimeout(once, EVERY);
}

// What was sent is not sent twice, and takes its time.
function showWork(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "true";
    form.setAttribute("aria-busy", "true");
    const button = event.submitter;
    if (button) button.dataset.busy = "true";
  });
}

// Ctrl+Enter runs what is being written.
function runByKey(area) {
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.form.requestSubmit();
  });
}

const live = document.getElementById("live");
if (live) keepLive(live, document.getElementById("pause"));
document.querySelectorAll("form[method=post]").forEach(showWork);
document.querySelectorAll("textarea").forEach(runByKey);
// A page that comes back by the back button may send its forms again.
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
    form.querySelectorAll("[data-busy]").forEach((button) => delete button.dataset.busy);
  });
});
