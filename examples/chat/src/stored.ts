// Text that this browser keeps, so that a page opened again tomorrow still has it.

import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
// Where the browser keeps nothing (private windows may not), this page at least remembers.
const remembered = new Map<string, string>();

function read(key: string): string {
  try {
    return localStorage.getItem(key) ?? remembered.get(key) ?? "";
  } catch {
    return remembered.get(key) ?? "";
  }
}

function write(key: string, text: string) {
  remembered.set(key, text);
  try {
    localStorage.setItem(key, text);
  } catch {
    // Remembered is enough.
  }
  for (const listener of listeners) listener();
}

function listen(listener: () => void) {
  listeners.add(listener);
  addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("storage", listener);
  };
}

/** The text kept under `key`, empty at first, and how to change it. Other tabs see it at once. */
export function useStored(key: string): [string, (text: string) => void] {
  const text = useSyncExternalStore(listen, () => read(key));
  return [text, (changed) => write(key, changed)];
}
