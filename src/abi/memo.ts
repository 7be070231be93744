/** What is remembered at most; then all of it is forgotten, since what comes next may be of another kind. */
const MOST = 8192;

/** Remembers what was made of a key, where few different ones come very many times. */
export class Memo<K, V, From = K> {
  readonly #make: (from: From) => V;
  readonly #keep: (key: K) => K;
  readonly #made = new Map<K, V>();

  /** @param keep the key to remember, where it would keep more than itself in memory. */
  constructor(make: (from: From) => V, keep: (key: K) => K = (key) => key) {
    this.#make = make;
    this.#keep = keep;
  }

  /** @param from what it is made of, when it is the first of this key. */
  of(key: K, from: From): V {
    return this.#made.get(key) ?? this.#new(key, from);
  }

  #new(key: K, from: From): V {
    if (this.#made.size >= MOST) this.#made.clear();
    const made = this.#make(from);
    this.#made.set(this.#keep(key), made);
    return made;
  }
}
