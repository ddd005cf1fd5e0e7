"use strict";
document.documentElement.classList.add("js");
document.querySelectorAll("[data-slides]").forEach(function (box) {
  const slides = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const range = box.querySelector("input[type=range]");
  const play = box.querySelector("[data-play]");
  const pieces = Array.from(box.querySelectorAll(".moving [data-layer]"));
  const words = { phase: "[data-phase]", title: "[data-title]", text: "[data-text]" };
  let timer = null;

  function show(number) {
    const slide = slides[number];
    pieces.forEach(function (piece) {
      const shown = String(slide.layers[piece.dataset.layer]) === piece.dataset.version;
      if (shown) piece.removeAttribute("display");
      else piece.setAttribute("display", "none");
    });
    for (const word in words) box.querySelector(words[word]).textContent = slide[word];
    box.querySelector("[data-phase]").dataset.phase = slide.phase;
    box.querySelector("[data-number]").textContent = number + 1;
    range.value = number;
    range.setAttribute("aria-valuetext", slide.title);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }

  function go(by) {
    const next = Number(range.value) + by;
    if (next < 0 || next >= slides.length) return stop();
    show(next);
  }

  play.addEventListener("click", function () {
    if (timer !== null) return stop();
    if (Number(range.value) === slides.length - 1) show(0);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    timer = setInterval(function () { go(1); }, calm ? 3000 : 1100);
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
  });
  range.addEventListener("input", function () { stop(); show(Number(range.value)); });
  box.querySelector("[data-back]").addEventListener("click", function () { stop(); go(-1); });
  box.querySelector("[data-next]").addEventListener("click", function () { stop(); go(1); });
  show(0);
});
