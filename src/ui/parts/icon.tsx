const paths = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  step: "M3 2.5v11l7-5.5zM11 2.5h2.2v11H11z",
  stop: "M3 3h10v10H3z",
  previous: "M13 2.5v11L6 8zM2.8 2.5H5v11H2.8z",
  next: "M3 2.5v11L10 8zM11 2.5h2.2v11H11z",
  newest: "M1.5 3v10L7 8zM7.5 3v10L13 8zM13 3h1.8v10H13z",
  reset: "M8 2.5a5.5 5.5 0 1 1-5.2 3.7l1.6.5A3.8 3.8 0 1 0 8 4.2V6.6L4.2 3.4 8 .3z",
  storage:
    "M2 3.5C2 2.4 4.7 1.6 8 1.6s6 .8 6 1.9v9c0 1.1-2.7 1.9-6 1.9s-6-.8-6-1.9zm1.5 2v2c.6.5 2.3 1 4.5 1s3.9-.5 4.5-1v-2c-1 .5-2.6.8-4.5.8s-3.5-.3-4.5-.8z",
  auto: "M8 1.500a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 1.600v9.800a4.9 4.9 0 0 1 0-9.800z",
  light:
    "M8 4.600a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.800zM7.3 0h1.400v2.600H7.300zM7.3 13.400h1.400V16H7.300zM0 7.300h2.600v1.400H0zM13.4 7.300H16v1.400h-2.600zM2.8 1.800l1.9 1.9-1 1-1.9-1.900zM12.3 11.300l1.9 1.9-1 1-1.9-1.900zM14.2 2.800l-1.9 1.9-1-1 1.9-1.900zM4.7 12.300l-1.9 1.9-1-1 1.9-1.900z",
  dark: "M6.2 1.700a6.5 6.5 0 1 0 8.1 8.100A5.2 5.2 0 0 1 6.2 1.700z",
} as const;

export type IconName = keyof typeof paths;

/** A small glyph beside or instead of a word; the button around it carries the name. */
export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={paths[name]} fill="currentColor" fill-rule="evenodd" />
    </svg>
  );
}

/** The mark: a picture seen and the same picture redrawn. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 36 28" width="36" height="28" aria-hidden="true">
      <rect x="1" y="1" width="18" height="18" rx="2.5" class="mark-seen" />
      <circle cx="10" cy="10" r="4.6" class="mark-dot-dim" />
      <rect x="16" y="9" width="18" height="18" rx="2.5" class="mark-drawn" />
      <circle cx="25" cy="18" r="4.6" class="mark-dot" />
    </svg>
  );
}
