// A photo's card, and the same large. Cards are made when they are scrolled to, a few at a time.

const STEP = 48;
const made = new Map();
let shown = [], drawn = 0;

function picture(photo, plain) {
  const [overlay, photoOnly] = photo.pictures ?? [];
  const source = photo.pictures ? (plain ? photoOnly ?? overlay : overlay) : (plain ? photo.photo : photo.overlay ?? photo.photo);
  if (photo.state === "error" && !photo.pictures) return make("p", {}, say("no_picture"));
  return make("img", {
    src: source, alt: photo.image, decoding: "async", loading: photo.pictures ? null : "lazy",
    onerror: event => event.target.replaceWith(make("p", {}, say("no_picture"))),
  });
}

const badge = photo => make("span", { class: "badge" }, say(photo.state));
const several = photo => photo.defects.length > 0 && (photo.pictures ? photo.pictures.length > 1 : Boolean(photo.overlay));

function toggle(photo, frame) {
  if (!several(photo)) return "";
  const button = make("button", { type: "button", class: "toggle", "aria-pressed": "false", onclick: () => {
    const plain = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(plain));
    button.textContent = say(plain ? "show_overlay" : "show_photo");
    frame.replaceChildren(picture(photo, plain));
  } }, say("show_photo"));
  return button;
}

function score(photo) {
  if (photo.score === undefined) return make("p", { class: "score" }, make("span", {}, say("no_score")));
  const parts = [`${say("score")} ${scored(photo)}`], band = RUN.band, threshold = photo.threshold ?? RUN.threshold;
  if (threshold !== null) parts.push(say("threshold", { t: threshold.toLocaleString(language, { maximumFractionDigits: 9 }) }));
  const draw = (tag, values) => { const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in values) node.setAttribute(name, values[name]); return node; };
  const bar = draw("svg", { viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(draw("rect", { class: "track", y: 4, width: 1000, height: 6 }));
  if (band) bar.append(draw("rect", { class: "band", x: 1000 * band[0], width: (1000 * (band[1] - band[0])).toFixed(2), height: 14 }));
  bar.append(draw("rect", { class: "value", y: 4, width: 1000 * photo.score, height: 6 }));
  if (threshold !== null) bar.append(draw("rect", { class: "tick", x: Math.min(994, Math.max(0, 1000 * threshold - 3)), width: 6, height: 14 }));
  return make("div", { class: "score" }, bar, make("span", {}, parts.join(" · ")));
}

function defects(photo) {
  if (!photo.defects.length) return "";
  const areas = photo.defects.some(defect => defect.area !== null);
  const row = (defect, place) => {
    const dot = make("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = defect.colour;
    const share = defect.share === null ? "" : `${(100 * defect.share).toLocaleString(language, { maximumSignificantDigits: 2 })} %`;
    const boxOnly = defect.source === "box";
    return make("tr", {}, make("td", {}, dot, `${place + 1}\u00a0`, make("bdi", {}, defect.label)),
      make("td", { class: "box" }, defect.box.map(value => value ?? "?").join(", ")),
      areas ? make("td", { class: "num" }, defect.area === null ? "" : `${figure(defect.area, 0)} px`, make("small", {}, share)) : "",
      areas ? make("td", { class: "num" }, boxOnly ? say("box_only") : defect.source ?? "", boxOnly || defect.score === null ? "" : make("small", {}, figure(defect.score, 2), defect.agreement === null ? "" : ` · IoU ${figure(defect.agreement, 2)}`)) : "");
  };
  const head = ["defect", "box", ...(areas ? ["area_px", "mask"] : [])].map((key, place) => make("th", { scope: "col", class: place > 1 ? "num" : null }, say(key)));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...photo.defects.map(row))),
    photo.more ? make("p", { class: "meta" }, say("more_defects", { n: photo.more })) : "");
}

const cutNote = (photo, name) => (photo.cut ?? []).includes(name) ? `\n${say("cut")}` : "";
function reason(photo) {
  const why = photo.parse ?? "";
  const fault = photo.error ? photo.error : photo.state === "undecided" ? say("not_read", { why }) : why && !why.startsWith("ok") ? say("not_as_asked", { why }) : "";
  return [
    fault ? make("p", { class: "fault", dir: "auto" }, fault) : "",
    photo.reasoning ? make("p", { class: "reason", dir: "auto", tabindex: photo.reasoning.length > 400 ? 0 : null }, photo.reasoning, cutNote(photo, "reasoning")) : "",
  ];
}
const meta = photo => make("p", { class: "meta" }, [
  photo.size ? `${photo.size[0]} × ${photo.size[1]} px` : "", photo.mode === "direct" ? say("direct") : "", photo.looks ? say("looks", { n: photo.looks }) : "",
  photo.references ? `${say("references")} ${photo.references.join(", ")}` : "",
].filter(Boolean).join(" · "));
function references(photo) {
  if (!photo.thumbnails) return "";
  return make("div", { class: "references" }, ...photo.thumbnails.map((place, number) => place === null ? "" : make("img", {
    src: THUMBNAILS[place], alt: `${say("references")} ${photo.references[number]}`, title: photo.references[number], decoding: "async",
  })));
}
const name = (photo, id) => make("h2", { id }, photo.folder ? make("span", { class: "dir" }, make("bdi", {}, `${photo.folder}/`)) : "", make("bdi", {}, photo.file));
const raw = photo => photo.raw ? make("details", {}, make("summary", {}, say("raw")), make("pre", { dir: "auto", tabindex: 0 }, photo.raw, cutNote(photo, "raw"))) : "";

function card(photo) {
  const frame = make("button", { type: "button", class: "frame", "aria-label": say("enlarge", { name: photo.image }), onclick: () => enlarge(photo) }, picture(photo, false));
  return make("article", { class: photo.state, tabindex: 0, "data-place": photo.place, "aria-labelledby": `name-${photo.place}`, "data-decision": decided(photo) },
    make("figure", {}, frame, toggle(photo, frame)),
    make("div", { class: "body" }, make("div", { class: "top" }, name(photo, `name-${photo.place}`), badge(photo)), meta(photo), references(photo), score(photo), ...reason(photo), defects(photo), raw(photo)),
    controls(photo));
}

function more() {
  const next = shown.slice(drawn, drawn + STEP);
  drawn += next.length;
  find("cards").append(...next.map(photo => {
    if (!made.has(photo)) made.set(photo, card(photo));
    return made.get(photo);
  }));
  find("more").hidden = drawn >= shown.length;
}

function show() {
  shown = fitting();
  drawn = 0;
  find("cards").replaceChildren();
  find("empty").hidden = shown.length > 0 || PHOTOS.length === 0;
  find("count").textContent = say("shown", { n: figure(shown.length, 0), m: figure(PHOTOS.length, 0) });
  more();
}

// Large.

let current = null;
function enlarge(photo) {
  const dialog = find("large"), place = shown.indexOf(photo), frame = make("div", { class: "frame" }, picture(photo, false));
  const step = (by, key, sign) => make("button", { type: "button", "aria-label": say(key), title: say(key), disabled: !shown[place + by], onclick: () => enlarge(shown[place + by]) }, sign);
  current = photo;
  dialog.className = photo.state;
  dialog.replaceChildren(
    make("div", { class: "top" }, name(photo, "large-name"), badge(photo), make("span", { class: "steps" },
      step(-1, "previous", "←"), step(1, "next", "→"), make("button", { type: "button", "aria-label": say("close"), title: say("close"), onclick: () => dialog.close() }, "✕"))),
    make("div", { class: "sides" }, make("figure", {}, frame, toggle(photo, frame)),
      make("div", { class: "body" }, meta(photo), references(photo), score(photo), ...reason(photo), defects(photo),
        make("p", { class: "meta" }, make("a", { href: photo.photo, target: "_blank", rel: "noopener" }, say("original"))), controls(photo))));
  if (!dialog.open) dialog.showModal();
  dialog.focus();
}
