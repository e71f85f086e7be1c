"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const board = () => one("board");
  const filter = one("filter"), matches = one("matches"), live = one("live"), help = one("help");
  let known = board().innerHTML;

  // Cards: a summary is the card, so that Enter opens it and a screen reader says so without any of this.
  const shown = (within) => [...within.querySelectorAll(".card:not([hidden]) > details > summary")];

  const goTo = (card) => {
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  const beside = (card, key) => {
    const lane = card.closest(".lane"), here = shown(lane), at = here.indexOf(card);
    if (key === "ArrowUp" || key === "ArrowDown") return here[at + (key === "ArrowUp" ? -1 : 1)];
    const lanes = [...card.closest(".lanes").querySelectorAll(".lane")].filter((one) => shown(one).length);
    const next = lanes[lanes.indexOf(lane) + (key === "ArrowLeft" ? -1 : 1)];
    return next && shown(next)[Math.min(at, shown(next).length - 1)];
  };

  const sift = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const cards = [...board().querySelectorAll(".card")];
    for (const card of cards) {
      const text = card.querySelector("summary").textContent.toLowerCase();
      card.hidden = !words.every((word) => text.includes(word));
    }
    matches.textContent = words.length ? `${cards.filter((card) => !card.hidden).length} of ${cards.length}` : "";
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || help.open) return;
    const active = document.activeElement, key = event.key;
    if (active === filter) {
      if (key !== "Escape") return;
      filter.value = "";
      sift();
      goTo(shown(board())[0] || board());
    } else if (key === "/") {
      filter.focus();
      filter.select();
    } else if (key === "?") {
      help.showModal();
    } else if (key === "Escape" && active.closest(".card")) {
      const details = active.closest("details");
      details.open = false;
      goTo(details.querySelector("summary"));
    } else if (key.startsWith("Arrow") && active.matches(".card summary")) {
      const next = beside(active, key);
      if (next) goTo(next);
    } else if (key.startsWith("Arrow") && (active === document.body || active === board()) && shown(board()).length) {
      goTo(shown(board())[0]);
    } else {
      return;
    }
    event.preventDefault();
  });
  filter.addEventListener("input", sift);
  one("keys").addEventListener("click", () => help.showModal());
  one("close").addEventListener("click", () => help.close());

  // Updates: the page is fetched again, and its main part takes the place of the old one.
  const swap = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html"), fresh = page.getElementById("board");
    if (!fresh || fresh.innerHTML === known) return;
    known = fresh.innerHTML;
    const old = board(), focused = old.contains(document.activeElement) ? document.activeElement.id : null;
    const texts = new Map([...old.querySelectorAll(".card > details > summary")].map((card) => [card.id, card.textContent]));
    const open = [...old.querySelectorAll("details[open]")].map((details) => details.id);
    const places = [...old.querySelectorAll(".lanes")].map((lanes) => [lanes.id, lanes.scrollLeft]);
    const [x, y] = [window.scrollX, window.scrollY];
    old.replaceWith(document.adoptNode(fresh));
    document.title = page.title;
    for (const id of open) if (one(id)) one(id).open = true;
    sift();
    for (const [id, left] of places) if (one(id)) one(id).scrollLeft = left;
    window.scrollTo(x, y);
    if (focused !== null) (one(focused) || board()).focus({ preventScroll: true });
    for (const card of shown(board()))
      card.closest(".card").classList.toggle("changed", texts.get(card.id) !== card.textContent);
  };

  const tell = (text, lost) => {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("lost", lost);
  };

  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      try {
        const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
        const text = await answer.text();
        if (answer.ok) { swap(text); tell("live", false); } else tell(text.split("\n")[0], true);
      } catch { tell("not connected", true); }
    } while (again);
    busy = false;
  };

  one("tools").hidden = false;
  const events = new EventSource("events");
  // Whatever changed while nobody listened is in the first look.
  events.addEventListener("open", refresh);
  events.addEventListener("changed", refresh);
  events.addEventListener("error", () => tell("not connected", true));
})();
