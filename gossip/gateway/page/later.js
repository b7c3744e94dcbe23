// Work that many things ask for and that is done once: some time after the first asked, never twice at a time.

export class Later {
  constructor(pause, work) {
    this.pause = pause;
    this.work = work;
    this.timer = 0;
    this.running = false;
    this.again = false;
    this.soon = () => this.#ask();
  }

  #ask() {
    if (this.running) this.again = true;
    else this.timer ||= setTimeout(() => this.#run(), this.pause);
  }

  async #run() {
    this.timer = 0;
    this.running = true;
    try {
      await this.work();
    } catch {
      // the stream says that the gateway is away, and everything is asked anew when it is back
    } finally {
      this.running = false;
      if (this.again) {
        this.again = false;
        this.#ask();
      }
    }
  }
}
