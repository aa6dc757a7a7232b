// What was said: by day, and by who said it. Older messages come when the reader gets to them.

import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Arches } from "./Arches";
import { Avatar } from "./Avatar";
import type { Message } from "./backend";
import { isPending } from "./pending";
import { clockTime, dayName, fullTime, sameDay } from "./time";

/** Somebody who goes on within this time is not introduced again. */
const SAME_BREATH_MS = 5 * 60_000;
/** Nearer to the end than this, in pixels, counts as reading the newest. */
const AT_END_PX = 60;

type Status = "LoadingFirstPage" | "CanLoadMore" | "LoadingMore" | "Exhausted";

type Props = {
  newestFirst: Message[];
  status: Status;
  name: string;
  room: string;
  isLive: boolean;
  onMore: () => void;
};

export function Messages({ newestFirst, status, name, room, isLive, onMore }: Props) {
  const messages = newestFirst.toReversed();
  const { scroller, isAtEnd, missed, toEnd } = useReading(messages, name);

  return (
    <div className="reading">
      <div className="scroller" ref={scroller} tabIndex={0} role="log" aria-label={`Messages in ${room}`}>
        <div className="said">
          {status === "LoadingFirstPage" && isLive && <MessagesToCome />}
          {status === "Exhausted" && messages.length > 0 && (
            <p className="beginning">This is where {room} begins.</p>
          )}
          {(status === "CanLoadMore" || status === "LoadingMore") && (
            <Earlier isLoading={status === "LoadingMore"} onMore={onMore} />
          )}
          {status === "Exhausted" && messages.length === 0 && <Silence room={room} />}
          <ol>
            {messages.map((message, i) => {
              const before = messages[i - 1];
              return (
                <Line
                  key={message._id}
                  message={message}
                  isMine={message.author === name}
                  isLive={isLive}
                  isNewDay={before === undefined || !sameDay(before._creationTime, message._creationTime)}
                  isContinued={before !== undefined && isSameBreath(before, message)}
                />
              );
            })}
          </ol>
        </div>
      </div>
      {!isAtEnd && (
        <button className="to-end" onClick={toEnd}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 3v10M3.5 8.5 8 13l4.5-4.5" />
          </svg>
          {missed === 0 ? "To the newest" : missed === 1 ? "1 new message" : `${missed} new messages`}
        </button>
      )}
    </div>
  );
}

function isSameBreath(before: Message, message: Message): boolean {
  return (
    before.author === message.author &&
    message._creationTime - before._creationTime < SAME_BREATH_MS &&
    sameDay(before._creationTime, message._creationTime)
  );
}

type LineProps = {
  message: Message;
  isMine: boolean;
  isLive: boolean;
  isNewDay: boolean;
  isContinued: boolean;
};

const Line = memo(function Line({ message, isMine, isLive, isNewDay, isContinued }: LineProps) {
  const { author, body, _creationTime: time } = message;
  const pending = isPending(message._id);
  return (
    <>
      {isNewDay && (
        <li className="day">
          <span>{dayName(time)}</span>
        </li>
      )}
      <li className="line" data-mine={isMine} data-continued={isContinued} data-pending={pending}>
        {!isMine && <Avatar name={author} />}
        <div className="spoken">
          <p className="by">
            <span className={isMine ? "hidden" : "author"}>{isMine ? "You" : author}</span>{" "}
            {pending ? (
              <span className="stamp">{isLive ? "Sending…" : "Not sent yet"}</span>
            ) : (
              <time className="stamp" dateTime={new Date(time).toISOString()} title={fullTime(time)}>
                {clockTime(time)}
              </time>
            )}
          </p>
          <p className="bubble">{body}</p>
        </div>
      </li>
    </>
  );
});

/** Where the reader is: the newest messages stay in sight for whoever reads them. */
function useReading(messages: Message[], name: string) {
  const scroller = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(true);
  const [readTime, setReadTime] = useState(0);
  const last = messages.at(-1);

  useEffect(() => {
    const element = scroller.current!;
    // The list is laid out from its end: there the position is 0, and before it negative.
    const look = () => setAtEnd(element.scrollTop > -AT_END_PX);
    element.addEventListener("scroll", look, { passive: true });
    return () => element.removeEventListener("scroll", look);
  }, []);

  useEffect(() => {
    if (isAtEnd && last !== undefined) setReadTime(last._creationTime);
  }, [isAtEnd, last]);

  // Who says something wants to see it said.
  const mine = last !== undefined && isPending(last._id) ? last._id : undefined;
  useLayoutEffect(() => {
    if (mine !== undefined) scroller.current!.scrollTop = 0;
  }, [mine]);

  const missed = messages.filter((each) => each._creationTime > readTime && each.author !== name);
  const toEnd = () => scroller.current!.scrollTo({ top: 0, behavior: "smooth" });
  return { scroller, isAtEnd, missed: missed.length, toEnd };
}

/** Asks for older messages when it comes into sight; a button, for those who do not scroll. Keys
 * pass it by: the list itself takes the focus, and scrolls. */
function Earlier({ isLoading, onMore }: { isLoading: boolean; onMore: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (isLoading) return;
    const observer = new IntersectionObserver(([seen]) => {
      if (seen!.isIntersecting) onMore();
    });
    observer.observe(button.current!);
    return () => observer.disconnect();
  }, [isLoading, onMore]);
  return (
    <button
      ref={button}
      className="button quiet earlier"
      tabIndex={-1}
      disabled={isLoading}
      onClick={onMore}
    >
      {isLoading ? "Fetching earlier messages…" : "Earlier messages"}
    </button>
  );
}

function Silence({ room }: { room: string }) {
  return (
    <div className="silence">
      <Arches />
      <h2>Nobody has said anything yet</h2>
      <p>
        You are the first in <strong>{room}</strong>. Open this page in a second window, write
        something here, and watch it appear there.
      </p>
    </div>
  );
}

function MessagesToCome() {
  return (
    <div className="to-come lines" aria-hidden="true">
      {[48, 64, 36, 56].map((width) => (
        <span key={width} style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}
