// Times as people say them, in the language of the browser.

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

const DAY = 86_400_000;

const midnight = (time: number) => new Date(time).setHours(0, 0, 0, 0);

/** How many midnights ago it was; rounded, for days that are an hour shorter or longer. */
const daysAgo = (time: number) => Math.round((midnight(Date.now()) - midnight(time)) / DAY);

export const sameDay = (one: number, other: number) => midnight(one) === midnight(other);

export const clockTime = (time: number) => clock.format(time);

export const fullTime = (time: number) => full.format(time);

export function dayName(time: number): string {
  const days = daysAgo(time);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 300 ? weekday.format(time) : date.format(time);
}

export const briefly = (time: number) =>
  daysAgo(time) <= 0 ? clock.format(time) : short.format(time);
