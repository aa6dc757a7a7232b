// Messages that only this page knows of as yet: their ids are made up until the server has them.

const PREFIX = "pending:";

let next = 0;

export const pendingId = () => PREFIX + next++;

export const isPending = (id: string) => id.startsWith(PREFIX);
