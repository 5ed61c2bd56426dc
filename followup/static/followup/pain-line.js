// The pain line: a full-width line without ticks, numbers or a starting mark. The first touch places the mark
// (a mark that waits somewhere pulls answers towards it), and only then can the answer be sent.
// Without this module the picture of a line in the same form does the work.

const POINTS = 100;

class PainLine extends HTMLElement {
  connectedCallback() {
    const form = this.closest("form");
    this.next = form.querySelector("button.main");
    this.answer = Object.assign(document.createElement("input"), { type: "hidden", name: "answer" });
    this.track = this.makeTrack();
    this.replaceChildren(this.track, this.answer);
    this.next.hidden = false;
    this.kept = this.getAttribute("value");
    this.show(this.kept);
  }

  makeTrack() {
    const track = document.createElement("div");
    track.className = "track";
    track.tabIndex = 0;
    track.setAttribute("role", "slider");
    track.setAttribute("aria-labelledby", "asked");
    track.setAttribute("aria-valuemin", "0");
    track.setAttribute("aria-valuemax", String(POINTS));
    track.addEventListener("pointerdown", (event) => this.follow(event));
    track.addEventListener("pointermove", (event) => event.buttons && this.touch(event));
    track.addEventListener("pointerup", () => this.given());
    track.addEventListener("pointercancel", () => this.show(this.before)); // the page was scrolled, not the line marked
    track.addEventListener("keydown", (event) => this.press(event));
    track.addEventListener("keyup", () => this.given());
    return track;
  }

  follow(event) {
    this.before = this.answer.value;
    this.track.setPointerCapture(event.pointerId);
    this.touch(event);
  }

  touch(event) {
    const { left, width } = this.track.getBoundingClientRect();
    const share = (event.clientX - left) / width;
    this.place(POINTS * (this.rightToLeft() ? 1 - share : share));
  }

  // A key has no place of its own. The first one comes in from the end it moves away from, never from the middle.
  press(event) {
    const more = ["ArrowUp", "PageUp", this.rightToLeft() ? "ArrowLeft" : "ArrowRight"].includes(event.key);
    const less = ["ArrowDown", "PageDown", this.rightToLeft() ? "ArrowRight" : "ArrowLeft"].includes(event.key);
    const step = event.key.startsWith("Page") ? 10 : 1;
    if (event.key === "Home" || event.key === "End") this.place(event.key === "Home" ? 0 : POINTS);
    else if (more) this.place(this.answer.value === "" ? 0 : Number(this.answer.value) + step);
    else if (less) this.place(this.answer.value === "" ? POINTS : Number(this.answer.value) - step);
    else return;
    event.preventDefault();
  }

  place(amount) {
    this.show(String(Math.min(Math.max(Math.floor(amount + 0.5), 0), POINTS)));
  }

  // Nothing marked is said in words: a slider that names no value counts as standing in the middle (WAI-ARIA 1.2).
  show(value) {
    const marked = value !== "";
    this.answer.value = value;
    this.next.disabled = !marked;
    this.track.classList.toggle("placed", marked);
    this.track.style.setProperty("--at", value || "0");
    this.track.setAttribute("aria-valuenow", value || "0");
    if (marked) this.track.removeAttribute("aria-valuetext");
    else this.track.setAttribute("aria-valuetext", this.getAttribute("unset"));
  }

  given() {
    if (this.answer.value === this.kept) return;
    this.kept = this.answer.value;
    this.answer.dispatchEvent(new Event("change", { bubbles: true }));
  }

  rightToLeft() {
    return getComputedStyle(this).direction === "rtl";
  }
}

customElements.define("pain-line", PainLine);
