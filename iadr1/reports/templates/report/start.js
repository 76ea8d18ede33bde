// Labels, listeners, the first view.

const choices = { label: [], folder: [], reviewed: Object.keys(reviews), sort: Object.keys(orders) };
choices.label = [...new Set(PHOTOS.flatMap(photo => photo.labels))].sort(names.compare);
choices.folder = [...new Set(PHOTOS.map(photo => photo.folder))].sort(names.compare);

function fillChoices() {
  const fill = (id, options) => { find(id).replaceChildren(...options.map(([value, text]) => new Option(text, value))); find(id).value = asked[id]; };
  const any = ["", say("any")];
  // A mark before the value tells "the folder without a name" from "any folder".
  fill("label", [any, ...choices.label.map(text => [`=${text}`, text])]);
  fill("folder", [any, ...choices.folder.map(text => [`=${text}`, text || say("top_folder")])]);
  fill("reviewed", [any, ...choices.reviewed.map(key => [key, say(key)])]);
  fill("sort", choices.sort.map(key => [key, say(key)]));
}
function speak(code) {
  language = code;
  document.documentElement.lang = find("paper").lang = code;
  document.querySelectorAll("[data-t]").forEach(node => { node.textContent = say(node.dataset.t); });
  document.querySelectorAll("[data-t-label]").forEach(node => node.setAttribute("aria-label", say(node.dataset.tLabel)));
  document.querySelectorAll("[data-t-placeholder]").forEach(node => node.setAttribute("placeholder", say(node.dataset.tPlaceholder)));
  document.querySelectorAll("[data-language]").forEach(node => node.setAttribute("aria-pressed", String(node.dataset.language === code)));
  document.title = RUN.title ?? say("title");
  const open = PHOTOS.filter(photo => photo.state === "undecided" || photo.state === "error").length;
  find("clean").hidden = PHOTOS.some(photo => photo.state === "anomalous");
  find("clean").textContent = PHOTOS.length === 0 ? say("empty_run") : say(open ? "clean_open" : PHOTOS.length === 1 ? "clean_one" : "clean", { n: figure(PHOTOS.length, 0), m: figure(open, 0) });
  find("clean").classList.toggle("open", open > 0 || PHOTOS.length === 0);
  find("embedded").textContent = say("note_pictures", { n: figure(PHOTOS.filter(photo => photo.pictures).length, 0), m: figure(PHOTOS.length, 0), mb: RUN.mb, side: RUN.side });
  notice("");
  made.clear();
  fillChoices();
  show();
  showProgress();
}
function ask(values) {
  Object.assign(asked, values);
  document.querySelectorAll("[data-filter]").forEach(button => button.setAttribute("aria-pressed", String(button.dataset.filter === asked.state)));
  find("reverse").setAttribute("aria-pressed", String(asked.reverse));
  for (const id of ["label", "folder", "reviewed", "sort", "text"]) if (find(id).value !== asked[id]) find(id).value = asked[id];
  show();
}

document.querySelectorAll("[data-filter]").forEach(button => button.addEventListener("click", () => ask({ state: button.dataset.filter })));
document.querySelectorAll("[data-language]").forEach(button => button.addEventListener("click", () => speak(button.dataset.language)));
for (const id of ["label", "folder", "reviewed", "sort"]) find(id).addEventListener("change", event => ask({ [id]: event.target.value }));
let waiting = 0;
find("text").addEventListener("input", event => { clearTimeout(waiting); waiting = setTimeout(() => ask({ text: event.target.value }), 120); });
find("reverse").addEventListener("click", () => ask({ reverse: !asked.reverse }));
find("clear").addEventListener("click", () => ask({ state: "", label: "", folder: "", reviewed: "", text: "" }));
find("more").addEventListener("click", more);
new IntersectionObserver((entries, observer) => {
  if (!entries.some(entry => entry.isIntersecting)) return;
  more();
  // Looked at anew, since on a huge screen it is in sight still and would not be told of again.
  observer.unobserve(find("more"));
  observer.observe(find("more"));
}, { rootMargin: "1200px" }).observe(find("more"));

find("reviewer").addEventListener("change", event => { review.reviewer = event.target.value.trim(); keep(); });
find("export-csv").addEventListener("click", () => save(asCsv(), "text/csv", `review-${RUN.key}.csv`));
find("export-json").addEventListener("click", () => save(asJson(), "application/json", `review-${RUN.key}.json`));
find("import").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", async event => {
  const [file] = event.target.files;
  if (file) takeIn(await file.text());
  event.target.value = "";
});
window.addEventListener("storage", event => {
  if (event.key !== KEY) return;
  review = kept();
  find("reviewer").value = review.reviewer;
  PHOTOS.forEach(photo => made.has(photo) && showReview(photo));
  showProgress();
});
find("print").addEventListener("click", printAll);
window.addEventListener("beforeprint", () => { if (!find("paper").hasChildNodes()) toPaper(); });
window.addEventListener("afterprint", () => find("paper").replaceChildren());

// Letters act only on the card that has the focus, or in the large view, and never while something is typed.
const letters = { a: "accept", r: "reject", u: "unsure" };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  const large = find("large").open, own = event.target.closest("article");
  const photo = large ? current : own && PHOTOS[own.dataset.place];
  if (event.key === "/" && !large) { find("text").focus(); event.preventDefault(); return; }
  if (!photo) return;
  const step = { j: 1, k: -1, ...(large ? { ArrowRight: 1, ArrowLeft: -1 } : {}) }[event.key];
  const next = step && shown[shown.indexOf(photo) + step];
  if (letters[event.key]) decide(photo, letters[event.key]);
  else if (step && large && next) enlarge(next);
  else if (step && next) { if (shown.indexOf(next) >= drawn) more(); made.get(next).focus(); }
  else if (event.key === "Enter" && event.target === own) enlarge(photo);
});
find("large").addEventListener("close", () => { made.get(current)?.focus(); find("large").replaceChildren(); });
find("large").addEventListener("click", event => { if (event.target === find("large")) find("large").close(); });

if (matchMedia("(max-width: 600px)").matches) document.querySelector(".about").open = false;
review = kept();
find("reviewer").value = review.reviewer;
try { localStorage.setItem(`${KEY}:can`, "1"); localStorage.removeItem(`${KEY}:can`); } catch { setTimeout(() => notice(say("not_kept"))); }
speak(RUN.language);
