/** How long a text is good enough for the next reader, in milliseconds. */
const FRESH_MS = 100;

/** A text that takes its time to make: whoever asks at the same moment gets the same one. */
export class SharedText {
  readonly #make: () => Promise<string>;
  #made: Promise<string> | undefined;

  constructor(make: () => Promise<string>) {
    this.#make = make;
  }

  read(): Promise<string> {
    if (this.#made === undefined) {
      this.#made = this.#make();
      setTimeout(() => (this.#made = undefined), FRESH_MS).unref();
    }
    return this.#made;
  }
}
