// What pages do beyond HTML: times in the viewer's zone, copying, a warning before a secret is left.
// Everything works without it.
"use strict";

(() => {
  const say = document.createElement("div");
  say.className = "hidden";
  say.setAttribute("role", "status");
  document.body.append(say);

  const localTimes = (root) => {
    const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
    for (const time of root.querySelectorAll("time[datetime]:not([data-relative])")) {
      time.textContent = format.format(new Date(time.dateTime));
    }
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No permission, or plain http: the text is marked, and Ctrl-C copies it.
      if ("select" in source) source.select(); else getSelection().selectAllChildren(source);
      if (!document.execCommand("copy")) return;
    }
    if (source.hasAttribute("data-secret")) source.dataset.secret = "copied";
    const label = button.textContent;
    button.textContent = "Copied";
    say.textContent = "Copied";
    setTimeout(() => { button.textContent = label; say.textContent = ""; }, 2000);
  };

  // Browsers ask only when it was not copied, and the person did something on the page.
  let leaving = false;
  addEventListener("beforeunload", (event) => {
    const kept = [...document.querySelectorAll("[data-secret]")].every((s) => s.dataset.secret === "copied");
    if (!kept && !leaving) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    const preset = event.target.closest("[data-sets]");
    if (preset) document.getElementById(preset.dataset.sets).value = preset.dataset.value;
    if (event.target.closest("[data-kept]")) leaving = true;
  });

  // Enter in a search inside a form sends no form: what is found shows while one types.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("[data-searches]")) event.preventDefault();
  });

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // What stands behind the # of a link is seen by no server.
  const fragment = new URLSearchParams(location.hash.slice(1));
  for (const input of document.querySelectorAll("[data-from-fragment]")) {
    const value = fragment.get(input.dataset.fromFragment);
    if (!value) continue;
    input.value = value;
    history.replaceState(null, "", location.pathname + location.search);
    input.form.requestSubmit();
  }

  // A file that is chosen goes into the text that is sent.
  for (const file of document.querySelectorAll("input[type=file][data-into]")) {
    file.addEventListener("change", async () => {
      if (file.files[0]) document.getElementById(file.dataset.into).value = await file.files[0].text();
    });
  }

  // What does nothing without this script is hidden until it runs.
  const offer = (root) => {
    for (const part of root.querySelectorAll("[data-scripted]")) part.hidden = false;
  };

  // On a small screen the navigation is a strip: where one is stands in its middle.
  const strip = document.querySelector(".side");
  const here = strip && strip.querySelector("[aria-current]");
  if (here) {
    const [place, whole] = [here.getBoundingClientRect(), strip.getBoundingClientRect()];
    strip.scrollLeft += place.left - whole.left - (whole.width - place.width) / 2;
  }

  const ready = () => { localTimes(document); offer(document); };
  ready();
  document.addEventListener("htmx:afterSwap", ready);
  const live = document.getElementById("live");
  if (live) {
    const text = live.textContent;
    live.hidden = false;
    document.addEventListener("htmx:afterSwap", () => { live.textContent = text; });
    for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
      document.addEventListener(name, () => { live.textContent = live.dataset.stopped; });
    }
  }
  // A list that could not be loaded anew says so, and stays.
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => { say.textContent = "Could not be loaded. Try again."; });
  }
  const faults = document.getElementById("faults");
  if (faults) faults.focus();
})();
