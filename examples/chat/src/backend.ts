// The functions of `convex/`, as the page knows them: their names, what they take, what they give.

import type { PaginationOptions, PaginationResult } from "convex/server";
import { makeFunctionReference } from "convex/server";
import { ConvexError } from "convex/values";

export type Message = {
  _id: string;
  _creationTime: number;
  room: string;
  author: string;
  body: string;
};

export type Room = {
  _id: string;
  name: string;
  last_author: string | null;
  last_body: string | null;
  last_at: number | null;
};

export type Writer = { author: string; at: number };

type Nothing = Record<string, never>;
type Page = { room: string; paginationOpts: PaginationOptions };
type Place = { room: string; author: string };

export const backend = {
  rooms: {
    list: makeFunctionReference<"query", Nothing, Room[]>("rooms:list"),
    open: makeFunctionReference<"mutation", { name: string }, string>("rooms:open"),
  },
  messages: {
    list: makeFunctionReference<"query", Page, PaginationResult<Message>>("messages:list"),
    send: makeFunctionReference<"mutation", Place & { body: string }, string>("messages:send"),
  },
  writers: {
    list: makeFunctionReference<"query", { room: string }, Writer[]>("writers:list"),
    writes: makeFunctionReference<"mutation", Place, null>("writers:writes"),
    stops: makeFunctionReference<"mutation", Place, null>("writers:stops"),
  },
};

/** What to tell somebody whose mutation failed: the app's own words, if it has any. */
export function refusal(error: unknown): string {
  if (error instanceof ConvexError && typeof error.data?.message === "string") {
    return error.data.message;
  }
  return "The server could not do that. Its log says why.";
}
