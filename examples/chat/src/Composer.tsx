// Where messages are written. The server decides what a message may be; here its answer is shown.

import { useEffect, useRef, useState } from "react";
import { refusal } from "./backend";
import { useSayWriting } from "./writing";

type Props = {
  room: string;
  name: string;
  writers: string[];
  send: (message: { room: string; author: string; body: string }) => Promise<string>;
};

export function Composer({ room, name, writers, send }: Props) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const writing = useSayWriting(room, name);

  // On a wide screen the keyboard is there anyway; on a phone it would cover the messages.
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) box.current!.focus();
  }, []);

  const submit = async () => {
    const body = text;
    setText("");
    setProblem("");
    writing.sent();
    try {
      await send({ room, author: name, body });
    } catch (error) {
      setProblem(refusal(error));
      // What was refused is given back, unless something new is being written already.
      setText((now) => (now === "" ? body : now));
      box.current?.focus();
    }
  };

  const onKeyDown = (event: React.KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void submit();
  };

  const onChange = (changed: string) => {
    setText(changed);
    setProblem("");
    if (changed.trim() === "") writing.stopped();
    else writing.typed();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        box.current!.focus();
        void submit();
      }}
    >
      <p className="writers" aria-live="polite">
        {writers.length > 0 && (
          <>
            <span className="dots" aria-hidden="true">
              <i />
              <i />
              <i />
            </span>
            {areWriting(writers)}
          </>
        )}
      </p>
      <div className="box" data-wrong={problem !== ""}>
        <textarea
          ref={box}
          id="message"
          rows={1}
          aria-label={`Message to ${room}`}
          placeholder={`Write to ${room}`}
          value={text}
          onChange={(event) => onChange(event.target.value)}
          onKeyDown={onKeyDown}
          onBlur={writing.stopped}
          aria-invalid={problem !== ""}
          aria-describedby={problem === "" ? "keys" : "message-problem"}
          enterKeyHint="send"
        />
        <button className="button round send" aria-label="Send">
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 13V3M3.5 7.5 8 3l4.5 4.5" />
          </svg>
        </button>
      </div>
      {problem !== "" ? (
        <p className="problem" id="message-problem" role="alert">
          {problem}
        </p>
      ) : (
        <p className="keys" id="keys">
          <kbd>Enter</kbd> sends, <kbd>Shift</kbd> + <kbd>Enter</kbd> begins a new line
        </p>
      )}
    </form>
  );
}

function areWriting(names: string[]): string {
  if (names.length === 1) return `${names[0]} is writing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are writing…`;
  return `${names.length} people are writing…`;
}
