"use strict";
(() => {
  document.documentElement.classList.remove("no-script");
  const data = JSON.parse(document.getElementById("tiles").textContent);
  const view = document.getElementById("viewer"), handle = document.getElementById("handle"), top = document.getElementById("top"), bottom = document.getElementById("bottom");
  const layers = [["imagery", document.getElementById("imagery")], ["map", document.getElementById("map")]].filter((each) => data[each[0]].length);
  const overlay = document.getElementById("blocks"), [rows, cols] = data.size;
  let scale = 0, left = 0, up = 0, swipe = 0.5, whole = true;
  const box = () => view.getBoundingClientRect();
  const least = () => Math.min(box().width / cols, box().height / rows);
  const most = () => Math.max(8, least() * 8);

  function pick(levels) {
    const wanted = 1 / (scale * (window.devicePixelRatio || 1));
    let best = 0;
    levels.forEach((level, at) => { if (level.scale[1] <= Math.max(wanted, levels[0].scale[1])) best = at; });
    return best;
  }
  function fill(name, world) {
    const levels = data[name], at = pick(levels), level = levels[at], [sy, sx] = level.scale, edge = 256;
    const across = Math.ceil(level.size[1] / edge), wanted = new Set(), size = box();
    level.tiles.forEach((url, number) => {
      const r = Math.floor(number / across) * edge, c = (number % across) * edge;
      const h = Math.min(edge, level.size[0] - r), w = Math.min(edge, level.size[1] - c);
      const x = left + c * sx * scale, y = up + r * sy * scale;
      if (x > size.width || y > size.height || x + w * sx * scale < 0 || y + h * sy * scale < 0) return;
      const key = at + "-" + number;
      wanted.add(key);
      let img = world.querySelector('[data-key="' + key + '"]');
      if (!img) {
        img = new Image();
        img.alt = "";
        img.draggable = false;
        img.dataset.key = key;
        img.src = url;
        world.insertBefore(img, world.querySelector("svg"));
      }
      const x0 = Math.round(x), y0 = Math.round(y);
      img.style.left = x0 + "px";
      img.style.top = y0 + "px";
      img.style.width = Math.round(x + w * sx * scale) - x0 + "px";
      img.style.height = Math.round(y + h * sy * scale) - y0 + "px";
    });
    for (const img of [...world.querySelectorAll("img")]) if (!wanted.has(img.dataset.key)) img.remove();
    view.dataset.level = at;
  }
  function draw() {
    const size = box();
    scale = whole ? least() : Math.min(most(), Math.max(least(), scale));
    whole = scale <= least();
    const w = cols * scale, h = rows * scale;
    left = w <= size.width ? (size.width - w) / 2 : Math.min(0, Math.max(size.width - w, left));
    up = h <= size.height ? (size.height - h) / 2 : Math.min(0, Math.max(size.height - h, up));
    for (const [name, world] of layers) fill(name, world);
    overlay.style.transform = "translate(" + left + "px," + up + "px) scale(" + scale + ")";
    const at = layers.length < 2 ? 0 : swipe * size.width;
    top.style.clipPath = "inset(0 0 0 " + at + "px)";
    bottom.style.clipPath = "inset(0 " + (size.width - at) + "px 0 0)";
    if (handle) {
      handle.style.left = at + "px";
      handle.setAttribute("aria-valuenow", Math.round(swipe * 100));
    }
    view.dataset.scale = scale;
    view.dataset.swipe = swipe;
  }
  function zoom(factor, x, y) {
    const before = scale;
    scale = Math.min(most(), Math.max(least(), scale * factor));
    whole = scale <= least();
    left = x - (x - left) * scale / before;
    up = y - (y - up) * scale / before;
    draw();
  }
  const middle = (factor) => zoom(factor, box().width / 2, box().height / 2);
  function move(to) { swipe = Math.min(1, Math.max(0, to)); draw(); }

  const held = new Map();
  view.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); view.setPointerCapture(event.pointerId); });
  view.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const others = [...held.values()].filter((each) => each.pointerId !== event.pointerId);
    if (others.length) {
      const far = (a) => Math.hypot(a.clientX - others[0].clientX, a.clientY - others[0].clientY) || 1;
      zoom(far(event) / far(before), (event.clientX + others[0].clientX) / 2 - box().left, (event.clientY + others[0].clientY) / 2 - box().top);
    } else {
      left += event.clientX - before.clientX;
      up += event.clientY - before.clientY;
      draw();
    }
    held.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, (event) => held.delete(event.pointerId));
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box().left, event.clientY - box().top);
  }, { passive: false });
  view.addEventListener("dblclick", (event) => zoom(2, event.clientX - box().left, event.clientY - box().top));
  view.addEventListener("keydown", (event) => {
    const step = 60, pan = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === handle) {
      const by = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 }[event.key];
      if (by) { move(swipe + by); event.preventDefault(); }
      return;
    }
    if (event.key === "+" || event.key === "=") middle(1.5);
    else if (event.key === "-") middle(1 / 1.5);
    else if (event.key === "0") { whole = true; draw(); }
    else if (pan) { left += pan[0]; up += pan[1]; draw(); }
    else return;
    event.preventDefault();
  });
  if (handle) {
    let dragging = false;
    handle.addEventListener("pointerdown", (event) => { dragging = true; handle.setPointerCapture(event.pointerId); event.stopPropagation(); });
    handle.addEventListener("pointermove", (event) => { if (dragging) { move((event.clientX - box().left) / box().width); event.stopPropagation(); } });
    for (const name of ["pointerup", "pointercancel"]) handle.addEventListener(name, () => { dragging = false; });
  }
  document.getElementById("in").addEventListener("click", () => middle(1.5));
  document.getElementById("out").addEventListener("click", () => middle(1 / 1.5));
  document.getElementById("whole").addEventListener("click", () => { whole = true; draw(); });
  window.addEventListener("resize", draw);
  draw();
})();
