import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What can't be read, because it is gone or another user's, is `undefined`: on a running system both happen at any time. */
function ifReadable<T>(read: (path: string) => T): (path: string) => T | undefined {
  return (path) => {
    try {
      return read(path);
    } catch {
      return undefined;
    }
  };
}

/** A file's text; `undefined` where it can't be read. */
export const readText = ifReadable((path) => readFileSync(path, "utf8"));
/** Where a symbolic link leads; `undefined` where that can't be read. */
export const readLink = ifReadable((path) => readlinkSync(path));
/** The names in a folder; `undefined` where it can't be read. */
export const listFolder = ifReadable((path) => readdirSync(path));
