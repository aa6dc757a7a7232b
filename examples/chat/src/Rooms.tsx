// The list of rooms, with what was last said in each; below it, who you are.

import { useMutation, useQuery } from "convex/react";
import { useEffect, useRef, useState } from "react";
import { Arches } from "./Arches";
import { Avatar } from "./Avatar";
import { backend, refusal, type Room } from "./backend";
import { go, LOBBY } from "./place";
import { useStored } from "./stored";
import { briefly } from "./time";

type Props = {
  current: string;
  name: string;
  open: boolean;
  onClose: () => void;
  onRename: () => void;
};

export function Rooms({ current, name, open, onClose, onRename }: Props) {
  const rooms = useQuery(backend.rooms.list);
  const seen = useSeen(rooms, current);
  const unread = (room: Row) => room.name !== current && (room.last_at ?? 0) > (seen[room.name] ?? 0);
  const rows = rooms === undefined ? undefined : withPlaces(rooms, current);
  const waiting = rows?.filter(unread).length ?? 0;
  const list = useRef<HTMLElement>(null);

  useEffect(() => {
    if (open) list.current!.querySelector<HTMLElement>("a[aria-current]")?.focus();
  }, [open]);

  useEffect(() => {
    document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${current} · Chat`;
  }, [waiting, current]);

  return (
    <>
      <div className="veil" data-open={open} onClick={onClose} />
      <aside className="rooms" id="rooms" data-open={open} aria-label="Chat" ref={list}>
        <header className="brand">
          <Arches className="arches small" />
          <span>Chat</span>
        </header>
        <nav aria-label="Rooms">
          <h2>Rooms</h2>
          {rows === undefined ? (
            <RoomsToCome />
          ) : (
            <ul>
              {rows.map((room) => (
                <li key={room.name}>
                  <a
                    className="room-link"
                    href={`#${encodeURIComponent(room.name)}`}
                    aria-current={room.name === current ? "page" : undefined}
                    onClick={onClose}
                  >
                    <span className="room-name">{room.name}</span>
                    {room.last_at != null && <time>{briefly(room.last_at)}</time>}
                    <span className="room-last">
                      {room.last_at == null ? "Nothing said yet" : `${room.last_author}: ${room.last_body}`}
                    </span>
                    {unread(room) && (
                      <span className="unread">
                        <span className="hidden">New messages</span>
                      </span>
                    )}
                  </a>
                </li>
              ))}
            </ul>
          )}
        </nav>
        <NewRoom onOpened={onClose} />
        <footer className="me">
          <Avatar name={name} />
          <span className="me-name">{name}</span>
          <button className="button quiet tiny" onClick={onRename} aria-label="Change your name">
            Change
          </button>
        </footer>
      </aside>
    </>
  );
}

type Row = Pick<Room, "name" | "last_at" | "last_author" | "last_body">;

/** The rooms there are, and those that are a place to go to before anybody said anything there. */
function withPlaces(rooms: Room[], current: string): Row[] {
  const known = new Set(rooms.map((room) => room.name));
  const empty = [...new Set([LOBBY, current])].filter((name) => !known.has(name));
  const rows = [
    ...rooms,
    ...empty.map((name) => ({ name, last_at: null, last_author: null, last_body: null })),
  ];
  const rank = (row: Row) => (row.name === LOBBY ? 0 : 1);
  return rows.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** Until when each room was read, kept in this browser; the current one is being read. */
function useSeen(rooms: Room[] | undefined, current: string): Record<string, number> {
  const [text, setText] = useStored("chat.seen");
  const seen: Record<string, number> = text === "" ? {} : JSON.parse(text);
  const latest = rooms?.find((room) => room.name === current)?.last_at ?? 0;
  const behind = latest > (seen[current] ?? 0);
  useEffect(() => {
    if (behind) setText(JSON.stringify({ ...seen, [current]: latest }));
  });
  return seen;
}

function RoomsToCome() {
  return (
    <div className="to-come" aria-hidden="true">
      {[62, 48, 70].map((width) => (
        <span key={width} style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}

function NewRoom({ onOpened }: { onOpened: () => void }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const open = useMutation(backend.rooms.open);

  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    const name = text.trim().toLowerCase().replace(/[\s_]+/g, "-");
    try {
      go(await open({ name }));
      setText("");
      onOpened();
    } catch (error) {
      setProblem(refusal(error));
    }
  };
  return (
    <form className="new-room" onSubmit={submit}>
      <label className="hidden" htmlFor="new-room">
        Name of a new room
      </label>
      <input
        id="new-room"
        className="field"
        placeholder="New room"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setProblem("");
        }}
        aria-invalid={problem !== ""}
        aria-describedby={problem === "" ? undefined : "new-room-problem"}
        autoComplete="off"
        enterKeyHint="go"
      />
      <button className="button round" aria-label="Open the room" disabled={text.trim() === ""}>
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M8 3v10M3 8h10" />
        </svg>
      </button>
      {problem !== "" && (
        <p className="problem" id="new-room-problem" role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
