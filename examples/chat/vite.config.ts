import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Vite looks at the sources only: what the backend writes below `.camber` is none of its business.
export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", watch: { ignored: ["**/.camber/**", "**/convex/**"] } },
  preview: { host: "127.0.0.1" },
});
