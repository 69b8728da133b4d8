"use strict";
(() => {
  const SECONDS = 10;
  const lost = document.getElementById("lost");
  const show = (next) => {
    if (next.querySelector("style").textContent !== document.querySelector("style").textContent) {
      location.reload();
      return;
    }
    document.title = next.title;
    document.getElementById("icon").href = next.getElementById("icon").href;
    for (const one of next.querySelectorAll("body [id]:not([id=lost])")) {
      const here = document.getElementById(one.id);
      if (here.innerHTML !== one.innerHTML) here.innerHTML = one.innerHTML;
      if (here.className !== one.className) here.className = one.className;
    }
  };
  const look = async () => {
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(SECONDS * 900) });
      if (!answer.ok) throw new Error(answer.statusText);
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  };
  setInterval(look, SECONDS * 1000);
})();
