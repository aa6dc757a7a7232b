// What is shown when the page itself fails, for instance because a query raised.

import { Component, type ReactNode } from "react";
import { Arches } from "./Arches";

export class Breakdown extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <main className="card-page">
        <div className="card" role="alert">
          <Arches />
          <h1>Something broke</h1>
          <p>The page could not be shown. Nothing that was sent is lost.</p>
          <details>
            <summary>What happened</summary>
            <pre>{this.state.error.message}</pre>
          </details>
          <button className="button" onClick={() => location.reload()}>
            Load the page again
          </button>
        </div>
      </main>
    );
  }
}
