// Where the page begins: one client for the whole page, and everything below it.

import "@fontsource-variable/bricolage-grotesque";
import "@fontsource-variable/figtree";
import { ConvexProvider, ConvexReactClient } from "convex/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { Breakdown } from "./Breakdown";
import { address } from "./address";
import "./styles.css";

const client = new ConvexReactClient(address);

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Breakdown>
      <ConvexProvider client={client}>
        <App />
      </ConvexProvider>
    </Breakdown>
  </StrictMode>,
);
