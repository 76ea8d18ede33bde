// What the file knows, what is asked for, and which photos fit. All text goes into the page as text nodes.

const find = id => document.getElementById(id);
const taken = id => { const node = find(id), value = JSON.parse(node.textContent); node.remove(); return value; };
const RUN = taken("run"), WORDS = taken("words"), PHOTOS = taken("photos"), THUMBNAILS = taken("thumbnails");
const STATES = ["anomalous", "undecided", "error", "normal"];
const DECISIONS = ["accept", "reject", "unsure"];

let language = RUN.language;
const say = (key, values = {}) => WORDS[language][key].replace(/\{(\w+)\}/g, (whole, name) => name in values ? values[name] : whole);
const figure = (value, digits) => value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
// As many digits as tell a score from what decides about it.
function scored(photo) {
  const limits = [photo.threshold ?? RUN.threshold, ...(RUN.band ?? [])].filter(limit => limit !== null && limit !== photo.score);
  let digits = 3;
  while (digits < 9 && limits.some(limit => limit.toFixed(digits) === photo.score.toFixed(digits))) digits++;
  return figure(photo.score, digits);
}

PHOTOS.forEach((photo, place) => {
  const cut = photo.image.lastIndexOf("/");
  photo.place = place;
  photo.folder = photo.image.slice(0, Math.max(0, cut));
  photo.file = photo.image.slice(cut + 1);
  photo.defects ??= [];
  photo.labels = [...new Set(photo.defects.map(defect => defect.label))];
  photo.words = [photo.image, ...photo.labels, photo.reasoning, photo.error].join("\n").toLowerCase();
});

function make(tag, values = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
  return node;
}

// Filter and sort.

const asked = { state: "", label: "", folder: "", reviewed: "", text: "", sort: "urgency", reverse: false };
const reviews = {
  open: photo => !decided(photo), done: photo => Boolean(decided(photo)),
  accept: photo => decided(photo) === "accept", reject: photo => decided(photo) === "reject", unsure: photo => decided(photo) === "unsure",
  remarked: photo => Boolean(reviewOf(photo)?.remark), disagreed: overruled,
};
const names = new Intl.Collator(undefined, { numeric: true });
const orders = {
  urgency: (a, b) => a.place - b.place,
  score: (a, b) => (b.score ?? -1) - (a.score ?? -1),
  area: (a, b) => (b.area ?? -1) - (a.area ?? -1),
  name: (a, b) => names.compare(a.image, b.image),
  verdict: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
};

function decided(photo) { return reviewOf(photo)?.decision ?? ""; }
function overruled(photo) {
  return (photo.state === "anomalous" && decided(photo) === "accept") || (photo.state === "normal" && decided(photo) === "reject");
}

function fitting() {
  const text = asked.text.trim().toLowerCase();
  const shown = PHOTOS.filter(photo =>
    (asked.state === "" || photo.state === asked.state)
    && (asked.label === "" || photo.labels.includes(asked.label.slice(1)))
    && (asked.folder === "" || photo.folder === asked.folder.slice(1))
    && (asked.reviewed === "" || reviews[asked.reviewed](photo))
    && (text === "" || photo.words.includes(text) || (reviewOf(photo)?.remark ?? "").toLowerCase().includes(text)));
  shown.sort((a, b) => orders[asked.sort](a, b) || a.place - b.place);
  return asked.reverse ? shown.reverse() : shown;
}
