// One room: what was said, newest at the bottom, and a place to say more.

import { insertAtTop, useMutation, usePaginatedQuery } from "convex/react";
import { Composer } from "./Composer";
import { LinkNotice, LinkSign, useLink } from "./Connection";
import { Messages } from "./Messages";
import { backend } from "./backend";
import { isPending, pendingId } from "./pending";
import { useWriters } from "./writing";

const FIRST_MESSAGES = 30;
const MORE_MESSAGES = 40;

type Props = { room: string; name: string; listOpen: boolean; onList: () => void };

export function Room({ room, name, listOpen, onList }: Props) {
  const { results, status, loadMore } = usePaginatedQuery(
    backend.messages.list,
    { room },
    { initialNumItems: FIRST_MESSAGES },
  );
  const send = useSend();
  const link = useLink();
  const writers = useWriters(room, name);
  const waiting = results.filter((message) => isPending(message._id)).length;

  return (
    <main className="room">
      <header className="room-head">
        <button
          id="menu"
          className="button quiet menu"
          aria-label="Rooms"
          aria-expanded={listOpen}
          aria-controls="rooms"
          onClick={onList}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M2 4.5h12M2 8h12M2 11.5h8" />
          </svg>
        </button>
        <h1>{room}</h1>
        <LinkSign link={link} />
      </header>
      <LinkNotice link={link} waiting={waiting} />
      <Messages
        newestFirst={results}
        status={status}
        name={name}
        room={room}
        isLive={link === "live"}
        onMore={() => loadMore(MORE_MESSAGES)}
      />
      <Composer room={room} name={name} writers={writers} send={send} />
    </main>
  );
}

/** Send a message, and show it at once: the server's own copy takes its place when it is there. */
function useSend() {
  return useMutation(backend.messages.send).withOptimisticUpdate((store, { room, author, body }) => {
    if (body.trim() === "") return;
    insertAtTop({
      paginatedQuery: backend.messages.list,
      argsToMatch: { room },
      localQueryStore: store,
      item: { _id: pendingId(), _creationTime: Date.now(), room, author, body: body.trim() },
    });
  });
}
