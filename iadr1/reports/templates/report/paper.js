// The printed report: a summary to sign, the photos that need attention, a table of the others. Always the whole run.

const decisionText = photo => {
  const entry = reviewOf(photo);
  return entry ? [entry.decision ? say(entry.decision) : "", entry.remark, entry.reviewer, entry.time.slice(0, 10)].filter(Boolean).join(" · ") : say("not_reviewed");
};
function table(keys, lines) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...keys.map(key => make("th", { scope: "col" }, say(key))))),
    make("tbody", {}, ...lines.map(line => make("tr", {}, ...line.map(text => make("td", {}, text))))));
}
function summary() {
  const count = name => PHOTOS.filter(photo => photo.state === name).length;
  const line = name => [say(name), figure(count(name), 0), PHOTOS.length ? `${figure(100 * count(name) / PHOTOS.length, 1)} %` : ""];
  const signs = ["inspector", "manager"].map(role => make("div", {}, make("b", {}, say(role)), ...["sign_name", "sign_date", "sign"].map(key => make("span", {}, say(key)))));
  return make("section", { class: "summary" }, make("h1", {}, RUN.title ?? say("title")),
    find("clean").hidden ? "" : make("p", { class: "clean" }, find("clean").textContent),
    make("h2", {}, say("counts")),
    table(["verdict", "photos", "share"], [...STATES.map(line), [say("all_photos"), figure(PHOTOS.length, 0), ""]]),
    make("p", {}, `${say("review")}: ${find("progress").textContent}. ${find("overruled").textContent}`),
    make("h2", {}, say("about")), document.querySelector(".about dl").cloneNode(true),
    make("h2", {}, say("notes")), ...["note_limits", "note_verdicts", "note_score", ...(RUN.calibrated ? [] : ["note_uncalibrated"]), "note_licence"].map(key => make("p", { class: "meta" }, say(key))),
    make("h2", {}, say("signatures")), make("div", { class: "signs" }, ...signs));
}
function paperCard(photo) {
  const images = make("figure", {}, picture(photo, false));
  images.querySelector("img")?.removeAttribute("loading");
  return make("article", { class: photo.state }, images, make("div", { class: "body" },
    make("div", { class: "top" }, name(photo), badge(photo)), meta(photo), references(photo), score(photo), ...reason(photo), defects(photo),
    make("p", { class: "decided" }, make("b", {}, `${say("review")}: `), decisionText(photo))));
}
// Thousands of pictures make a document that nothing opens.
const ON_PAPER = 300;
function listed(key, photos) {
  return make("section", {}, make("h2", {}, say(key)), table(["name", "verdict", "score", "defect", "review"], photos.map(photo =>
    [photo.image, say(photo.state), photo.score === undefined ? "" : scored(photo), photo.labels.join(", "), decisionText(photo)])));
}
function toPaper() {
  const urgent = PHOTOS.filter(photo => photo.state !== "normal"), fine = PHOTOS.filter(photo => photo.state === "normal");
  const paper = find("paper");
  paper.replaceChildren(summary());
  if (urgent.length) paper.append(make("section", {}, make("h2", {}, say("attention")), ...urgent.slice(0, ON_PAPER).map(paperCard)));
  if (urgent.length > ON_PAPER) paper.append(listed("attention_more", urgent.slice(ON_PAPER)));
  if (fine.length) paper.append(listed("ok_list", fine));
}
async function printAll() {
  toPaper();
  await Promise.all([...find("paper").querySelectorAll("img")].map(image => image.decode().catch(() => {})));
  window.print();
}
