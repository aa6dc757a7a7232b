// The first thing a newcomer sees: what others should call them.

import { Arches } from "./Arches";
import { Avatar } from "./Avatar";
import { useState } from "react";

const NAME_MAX = 40;

export function Welcome({ name, onChoose }: { name: string; onChoose: (name: string) => void }) {
  const [text, setText] = useState(name);
  const chosen = text.trim().replace(/\s+/g, " ");
  const submit = (event: React.FormEvent) => {
    event.preventDefault();
    if (chosen !== "") onChoose(chosen);
  };
  return (
    <main className="card-page">
      <form className="card" onSubmit={submit}>
        <Arches />
        <h1>{name === "" ? "Come in" : "Another name"}</h1>
        <p>
          {name === ""
            ? "This is a chat. Whatever somebody writes is on everybody’s page the moment it is said."
            : "What you said so far keeps the name it was said under."}
        </p>
        <label className="field-label" htmlFor="name">
          What should the others call you?
        </label>
        <div className="name-row">
          {chosen === "" ? <span className="avatar blank" aria-hidden="true" /> : <Avatar name={chosen} />}
          <input
            id="name"
            className="field"
            value={text}
            onChange={(event) => setText(event.target.value)}
            maxLength={NAME_MAX}
            autoComplete="nickname"
            autoFocus
            required
          />
        </div>
        <div className="card-actions">
          <button className="button" disabled={chosen === ""}>
            {name === "" ? "Start" : "Use this name"}
          </button>
          {name !== "" && (
            <button type="button" className="button quiet" onClick={() => onChoose(name)}>
              Keep “{name}”
            </button>
          )}
        </div>
        <p className="small">Your name stays in this browser. There are no accounts here, and no passwords.</p>
      </form>
    </main>
  );
}
