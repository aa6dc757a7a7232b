// A face for a name: its first letters on a colour that is always the same for the same name.

function hue(name: string): number {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)!) % 1_000_003;
  // Steps of the golden angle: names that differ little get colours that differ much.
  return Math.round((sum * 137.508) % 360);
}

function initials(name: string): string {
  const words = name.split(/\s+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined];
  return letters.map((word) => (word === undefined ? "" : [...word][0])).join("").toUpperCase();
}

export function Avatar({ name }: { name: string }) {
  return (
    <span className="avatar" style={{ "--hue": hue(name) } as React.CSSProperties} aria-hidden="true">
      {initials(name)}
    </span>
  );
}
