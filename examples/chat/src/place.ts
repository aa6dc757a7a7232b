// Which room the page shows. It is in the address (`#lobby`), so a room can be sent as a link.

import { useSyncExternalStore } from "react";

export const LOBBY = "lobby";

function current(): string {
  try {
    return decodeURIComponent(location.hash.slice(1)) || LOBBY;
  } catch {
    return LOBBY;
  }
}

function listen(listener: () => void) {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

export function usePlace(): string {
  return useSyncExternalStore(listen, current);
}

export function go(room: string) {
  location.hash = encodeURIComponent(room);
}
