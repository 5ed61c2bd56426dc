// One question: what is marked is kept at once, and again and again until it has arrived, so that neither a tunnel nor an
// empty battery loses an answer. Without this module the form's own buttons do the work.

const LONGEST_WAIT = 30; // seconds

class Question {
  constructor(form) {
    this.form = form;
    this.status = form.querySelector(".kept");
    this.waiting = null; // what is to be sent next: the latest only
    this.busy = false;
    this.hurry = () => {};
    form.addEventListener("change", () => this.send({ keep: "1" }));
    form.addEventListener("click", (event) => (this.pressed = event.target.closest("button")));
    form.addEventListener("submit", (event) => this.submit(event));
    addEventListener("online", () => this.hurry());
  }

  submit(event) {
    event.preventDefault();
    const button = event.submitter ?? this.pressed; // Safari before 15.4 does not say which button it was
    this.send(button?.name ? { [button.name]: button.value } : {});
  }

  send(extra) {
    const said = new URLSearchParams(new FormData(this.form));
    for (const [name, value] of Object.entries(extra)) said.set(name, value);
    this.waiting = said;
    this.hurry();
    if (!this.busy) this.deliver();
  }

  async deliver() {
    this.busy = true;
    let wait = 1;
    while (this.waiting) {
      const said = this.waiting;
      const answer = await this.post(said);
      if (answer === "elsewhere") return location.reload(); // closed, or sent already: the page says it
      if (answer === "lost") {
        this.say(this.status.dataset.lost);
        await this.pause(wait);
        wait = Math.min(2 * wait, LONGEST_WAIT);
      } else {
        this.say(this.status.dataset.kept);
        if (answer.next) return location.assign(answer.next);
        if (this.waiting === said) this.waiting = null;
        wait = 1;
      }
    }
    this.busy = false;
  }

  async post(body) {
    try {
      const headers = { Accept: "application/json" };
      const response = await fetch(location.pathname, { method: "POST", body, headers, keepalive: true });
      if (response.status >= 500) return "lost";
      const ours = response.ok && response.headers.get("Content-Type") === "application/json";
      return ours ? await response.json() : "elsewhere";
    } catch {
      return "lost";
    }
  }

  pause(seconds) {
    return new Promise((resolve) => {
      this.hurry = resolve;
      setTimeout(resolve, 1000 * seconds);
    });
  }

  say(words) {
    if (this.status.textContent !== words) this.status.textContent = words;
  }
}

new Question(document.querySelector("form.question"));
