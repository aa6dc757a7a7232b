// Where the backend is. `scripts/chat` says so; without it, where `camber dev` is by default.

export const address: string = import.meta.env.VITE_CONVEX_URL ?? "http://127.0.0.1:3210";
