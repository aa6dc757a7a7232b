// The mark of the page: three arches. It says nothing that is not said in words beside it.

export function Arches({ className = "arches" }: { className?: string }) {
  return (
    <svg className={className} viewBox="0 0 48 28" aria-hidden="true">
      <path d="M4 25a20 20 0 0 1 40 0" />
      <path d="M12 25a12 12 0 0 1 24 0" className="accent" />
      <path d="M20 25a4 4 0 0 1 8 0" className="faint" />
    </svg>
  );
}
