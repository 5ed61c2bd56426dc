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
    this.next.disabled = true;
    const before = this.getAttribute("value");
    if (before !== "") this.place(Number(before));
  }

  makeTrack() {
    const track = document.createElement("div");
    track.className = "track";
    track.tabIndex = 0;
    track.setAttribute("role", "slider");
    track.setAttribute("aria-label", this.getAttribute("label"));
    track.setAttribute("aria-valuemin", "0");
    track.setAttribute("aria-valuemax", String(POINTS));
    track.setAttribute("aria-valuetext", this.getAttribute("unset"));
    track.addEventListener("pointerdown", (event) => this.follow(event));
    track.addEventListener("pointermove", (event) => event.buttons && this.touch(event));
    track.addEventListener("keydown", (event) => this.press(event));
    return track;
  }

  follow(event) {
    this.track.setPointerCapture(event.pointerId);
    this.touch(event);
  }

  touch(event) {
    const { left, width } = this.track.getBoundingClientRect();
    const share = (event.clientX - left) / width;
    this.place(this.rightToLeft() ? 1 - share : share, POINTS);
  }

  press(event) {
    const forward = this.rightToLeft() ? "ArrowLeft" : "ArrowRight";
    const back = this.rightToLeft() ? "ArrowRight" : "ArrowLeft";
    const now = this.answer.value === "" ? POINTS / 2 : Number(this.answer.value);
    const to = {
      [forward]: now + 1,
      [back]: now - 1,
      ArrowUp: now + 1,
      ArrowDown: now - 1,
      PageUp: now + 10,
      PageDown: now - 10,
      Home: 0,
      End: POINTS,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.place(to);
  }

  place(amount, scale = 1) {
    const value = Math.min(Math.max(Math.floor(amount * scale + 0.5), 0), POINTS);
    this.answer.value = String(value);
    this.track.classList.add("placed");
    this.track.style.setProperty("--at", String(value));
    this.track.setAttribute("aria-valuenow", String(value));
    this.track.removeAttribute("aria-valuetext");
    this.next.disabled = false;
  }

  rightToLeft() {
    return getComputedStyle(this).direction === "rtl";
  }
}

customElements.define("pain-line", PainLine);
