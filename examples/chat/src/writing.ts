// Who else is writing, and saying that you are.

import { useConvex, useMutation, useQuery } from "convex/react";
import { useEffect, useRef, useState } from "react";
import { backend } from "./backend";

/** While somebody types, their page says so this often. */
const SAID_EVERY_MS = 2_500;
/** A writer not heard of for this long has stopped: their page may be gone. */
const BELIEVED_MS = 6_000;

type Heard = { at: number; here: number };

/** The names of those who write in `room` right now, without `name`.
 *
 * Clocks of different machines differ, so only changes count: a writer is believed for a while
 * after each one that this page has seen, by its own clock. */
export function useWriters(room: string, name: string): string[] {
  const writers = useQuery(backend.writers.list, { room });
  const heard = useRef<Map<string, Heard> | null>(null);
  const [names, setNames] = useState<string[]>([]);

  useEffect(() => {
    if (writers === undefined) return;
    const before = heard.current;
    const now = performance.now();
    // What was there already when the page came may be old.
    const fresh = before === null ? -BELIEVED_MS : now;
    heard.current = new Map(
      writers.map(({ author, at }) => {
        const known = before?.get(author);
        return [author, known?.at === at ? known : { at, here: fresh }];
      }),
    );
    const judge = () => {
      const since = performance.now() - BELIEVED_MS;
      const believed = [...heard.current!].filter(([who, { here }]) => who !== name && here > since);
      setNames(believed.map(([who]) => who));
    };
    judge();
    const timer = setInterval(judge, 1_000);
    return () => clearInterval(timer);
  }, [writers, name]);
  return names;
}

/** What the composer tells of the keys that are touched. */
export function useSayWriting(room: string, name: string) {
  const client = useConvex();
  const writes = useMutation(backend.writers.writes);
  const stops = useMutation(backend.writers.stops);
  const saidAt = useRef<number | null>(null);

  // Nobody needs to hear tomorrow that somebody was typing today: offline, nothing is queued.
  const isHeard = () => client.connectionState().isWebSocketConnected;
  const said = (call: Promise<null>) => void call.catch(() => undefined);

  const typed = () => {
    const now = performance.now();
    if (!isHeard() || (saidAt.current !== null && now - saidAt.current < SAID_EVERY_MS)) return;
    saidAt.current = now;
    said(writes({ room, author: name }));
  };
  const stopped = () => {
    if (saidAt.current === null) return;
    saidAt.current = null;
    if (isHeard()) said(stops({ room, author: name }));
  };
  /** A message that is sent ends the writing by itself. */
  const sent = () => {
    saidAt.current = null;
  };
  return { typed, stopped, sent };
}
