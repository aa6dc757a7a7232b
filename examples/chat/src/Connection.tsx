// Whether what the page shows is still the truth, and what becomes of messages meanwhile.

import { useConvexConnectionState } from "convex/react";
import { useEffect, useState } from "react";
import { address } from "./address";

/** A cut shorter than this is mended before anybody could read about it. */
const UNNOTICED_MS = 700;

export type Link = "live" | "connecting" | "reconnecting" | "unreachable";

export function useLink(): Link {
  const { isWebSocketConnected, hasEverConnected, connectionRetries } = useConvexConnectionState();
  const lost = useLasting(!isWebSocketConnected && hasEverConnected, UNNOTICED_MS);
  if (isWebSocketConnected) return "live";
  if (hasEverConnected) return lost ? "reconnecting" : "live";
  return connectionRetries > 0 ? "unreachable" : "connecting";
}

/** True once `state` has been true for a while; false at once when it is not. */
function useLasting(state: boolean, forMs: number): boolean {
  const [lasted, setLasted] = useState(false);
  useEffect(() => {
    setLasted(false);
    if (!state) return;
    const timer = setTimeout(() => setLasted(true), forMs);
    return () => clearTimeout(timer);
  }, [state, forMs]);
  return state && lasted;
}

const WORDS: Record<Link, string> = {
  live: "Live",
  connecting: "Connecting…",
  reconnecting: "Reconnecting…",
  unreachable: "No server",
};

export function LinkSign({ link }: { link: Link }) {
  return (
    <span className="link-sign" data-link={link}>
      <span className="light" aria-hidden="true" />
      {WORDS[link]}
    </span>
  );
}

export function LinkNotice({ link, waiting }: { link: Link; waiting: number }) {
  return (
    <div className="notice-place" role="status">
      {link === "reconnecting" && (
        <p className="notice">
          <Turning />
          <span>
            <strong>Reconnecting…</strong> This is how things stood when the connection was lost.{" "}
            {waiting === 0
              ? "You can go on writing."
              : waiting === 1
                ? "Your message is sent as soon as it is back."
                : `Your ${waiting} messages are sent as soon as it is back.`}
          </span>
        </p>
      )}
      {link === "unreachable" && (
        <p className="notice">
          <Turning />
          <span>
            <strong>Nobody answers at {address}.</strong> Is <code>camber dev</code> running? The page
            keeps trying.
          </span>
        </p>
      )}
    </div>
  );
}

function Turning() {
  return (
    <svg className="turning" viewBox="0 0 16 16" aria-hidden="true">
      <path d="M14 8a6 6 0 1 1-3-5.2" />
    </svg>
  );
}
