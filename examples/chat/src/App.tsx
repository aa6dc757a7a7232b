// The whole page: who you are, the rooms, and the room you are in.

import { useState } from "react";
import { Room } from "./Room";
import { Rooms } from "./Rooms";
import { Welcome } from "./Welcome";
import { usePlace } from "./place";
import { useStored } from "./stored";

export function App() {
  const [name, setName] = useStored("chat.name");
  const [renaming, setRenaming] = useState(false);
  const [listOpen, setListOpen] = useState(false);
  const room = usePlace();

  if (name === "" || renaming) {
    const choose = (chosen: string) => {
      setName(chosen);
      setRenaming(false);
    };
    return <Welcome name={name} onChoose={choose} />;
  }
  const closeList = () => {
    setListOpen(false);
    document.getElementById("menu")?.focus();
  };
  return (
    <div className="app" onKeyDown={(event) => event.key === "Escape" && listOpen && closeList()}>
      <a className="skip" href="#message" onClick={focusComposer}>
        Skip to writing a message
      </a>
      <Rooms
        current={room}
        name={name}
        open={listOpen}
        onClose={closeList}
        onRename={() => setRenaming(true)}
      />
      <Room
        key={room}
        room={room}
        name={name}
        listOpen={listOpen}
        onList={() => setListOpen(!listOpen)}
      />
    </div>
  );
}

// The address names the room, so the link must not change it.
function focusComposer(event: React.MouseEvent) {
  event.preventDefault();
  document.getElementById("message")?.focus();
}
