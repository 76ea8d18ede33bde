// The reviewer's decisions: kept in this browser under the run's key, exported, imported.

const KEY = `iadr1-review:${RUN.key}`;
const LONGEST = 2000;
const COLUMNS = ["image", "sha256", "verdict", "score", "decision", "remark", "reviewer", "time"];
let review = { reviewer: "", decisions: {} };

function kept() {
  try {
    const value = JSON.parse(localStorage.getItem(KEY));
    return value && typeof value.decisions === "object" && typeof value.reviewer === "string" ? value : { reviewer: "", decisions: {} };
  } catch { return { reviewer: "", decisions: {} }; }
}
function keep() {
  try { localStorage.setItem(KEY, JSON.stringify(review)); } catch { notice(say("not_kept")); }
}
function notice(text) { const node = find("notice"); node.textContent = text; node.hidden = text === ""; }

// A decision about another file of the same name does not count.
function reviewOf(photo) {
  const entry = Object.hasOwn(review.decisions, photo.image) ? review.decisions[photo.image] : undefined;
  return entry && (entry.sha256 ?? "") === (photo.sha256 ?? "") ? entry : undefined;
}

function change(photo, values) {
  const entry = { decision: "", remark: "", ...reviewOf(photo), ...values, sha256: photo.sha256 ?? "", reviewer: find("reviewer").value, time: new Date().toISOString() };
  if (entry.decision || entry.remark) Object.defineProperty(review.decisions, photo.image, { value: entry, enumerable: true, configurable: true, writable: true });
  else delete review.decisions[photo.image];
  keep();
  showReview(photo);
}
function decide(photo, decision) { change(photo, { decision: decided(photo) === decision ? "" : decision }); }

function controls(photo) {
  const choice = decision => make("button", { type: "button", class: decision, "data-decision": decision, "aria-pressed": String(decided(photo) === decision), onclick: () => decide(photo, decision) }, say(decision));
  return make("fieldset", { class: "decision", "data-place": photo.place }, make("legend", { class: "hidden" }, say("decision", { name: photo.image })),
    make("div", {}, ...DECISIONS.map(choice)),
    make("input", { type: "text", maxlength: LONGEST, "aria-label": say("remark"), placeholder: say("remark"), value: reviewOf(photo)?.remark ?? "", dir: "auto", onchange: event => change(photo, { remark: event.target.value.trim() }) }));
}

function showReview(photo) {
  const fields = [...document.querySelectorAll(`fieldset[data-place="${photo.place}"]`)];
  const own = made.get(photo);
  if (own && !own.isConnected) fields.push(own.querySelector("fieldset"));
  if (own) own.dataset.decision = decided(photo);
  for (const field of fields) {
    field.querySelectorAll("button").forEach(button => button.setAttribute("aria-pressed", String(button.dataset.decision === decided(photo))));
    field.querySelector("input").value = reviewOf(photo)?.remark ?? "";
  }
  showProgress();
}
function showProgress() {
  const done = PHOTOS.filter(decided).length;
  const accepted = PHOTOS.filter(photo => photo.state === "anomalous" && overruled(photo)).length, all = PHOTOS.filter(overruled).length;
  find("bar").max = Math.max(1, PHOTOS.length);
  find("bar").value = done;
  find("progress").textContent = say("progress", { n: figure(done, 0), m: figure(PHOTOS.length, 0) });
  find("overruled").textContent = all ? say("overruled", { a: figure(accepted, 0), b: figure(all - accepted, 0) }) : "";
}

// Out.

const rows = () => PHOTOS.filter(reviewOf).map(photo => {
  const { decision, remark, reviewer, time } = reviewOf(photo);
  return { image: photo.image, sha256: photo.sha256 ?? "", verdict: photo.state, score: photo.score ?? null, decision, remark, reviewer, time };
});
// As in iadr1/spreadsheet.py: a spreadsheet would run a cell that begins like a formula, also where it takes ; or a tab
// for the separator. The apostrophe is taken off again on import.
const guarded = text => text.replace(/(?:^|(?<=[;\t\r\n]))(?='*[=+\-@\t\r\n])/g, "'");
const unguarded = text => text.replace(/(?:^|(?<=[;\t\r\n]))'(?='*[=+\-@\t\r\n])/g, "");
const cell = value => `"${guarded(String(value ?? "")).replaceAll('"', '""')}"`;
const asCsv = () => `\ufeff${[COLUMNS, ...rows().map(row => COLUMNS.map(column => row[column]))].map(line => line.map(cell).join(",")).join("\r\n")}\r\n`;
const asJson = () => `${JSON.stringify({ format: "iadr1-review", version: 1, run: RUN.key, reviewer: review.reviewer, exported: new Date().toISOString(), photos: PHOTOS.length, decisions: rows() }, null, 1)}\n`;
function save(text, type, name) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

// In.

function readCsv(text) {
  const lines = [[""]];
  let quoted = false;
  for (let place = 0; place < text.length; place += 1) {
    const char = text[place], line = lines.at(-1);
    if (quoted && char === '"' && text[place + 1] === '"') { line[line.length - 1] += '"'; place += 1; }
    else if (char === '"') quoted = !quoted;
    else if (!quoted && char === ",") line.push("");
    else if (!quoted && char === "\n") lines.push([""]);
    else if (quoted || char !== "\r") line[line.length - 1] += char;
  }
  const [head, ...body] = lines.filter(line => line.length > 1);
  if (!head || COLUMNS.some(column => !head.includes(column))) return null;
  return body.map(line => Object.fromEntries(head.map((column, place) => [column, unguarded(line[place] ?? "")])));
}
function readReview(text) {
  const clean = text.replace(/^\ufeff/, "");
  if (!clean.trimStart().startsWith("{")) return readCsv(clean);
  try {
    const value = JSON.parse(clean);
    return value.format === "iadr1-review" && Array.isArray(value.decisions) ? value.decisions : null;
  } catch { return null; }
}
const isRow = row => row && COLUMNS.every(column => column === "score" || typeof row[column] === "string")
  && (row.decision === "" || DECISIONS.includes(row.decision)) && !Number.isNaN(Date.parse(row.time));
function takeIn(text) {
  const entries = readReview(text);
  if (!entries || !entries.every(isRow)) { notice(say("not_review")); return; }
  const byName = new Map(PHOTOS.map(photo => [photo.image, photo])), byHash = new Map(PHOTOS.map(photo => [photo.sha256, photo]));
  let n = 0, m = 0, k = 0;
  for (const row of entries) {
    const named = byName.get(row.image), photo = named && (named.sha256 ?? "") === row.sha256 ? named : row.sha256 && byHash.get(row.sha256);
    const old = photo && reviewOf(photo);
    if (!photo) m += 1;
    else if (old && Date.parse(old.time) > Date.parse(row.time)) k += 1;
    else {
      const value = { sha256: row.sha256, decision: row.decision, remark: row.remark.slice(0, LONGEST), reviewer: row.reviewer.slice(0, 100), time: row.time };
      Object.defineProperty(review.decisions, photo.image, { value, enumerable: true, configurable: true, writable: true });
      n += 1;
    }
  }
  keep();
  made.clear();
  show();
  showProgress();
  notice(say("imported", { n, m, k }));
}
